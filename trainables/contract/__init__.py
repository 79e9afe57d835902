"""What a learner must be for a search to run it, and what one trial of it is given."""
