"""Convolutional networks: models, augmentation and training, in one process."""
