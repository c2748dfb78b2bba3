"""Rendered road scenes with known truth, as a data set and as a camera."""
