"""What a step of training is made of: changed images, optimiser, random numbers of its own."""
