"""Measures whether a trained pair has the shape that the method needs: the table of the model card."""
