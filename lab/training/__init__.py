"""Training of the shipped pair and fine-tuning on a user's classes."""
