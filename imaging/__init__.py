"""Encoded images to pixels: one way and one set of limits for whoever sends a frame and whoever reads it."""
