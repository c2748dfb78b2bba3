"""The controller against a simulated link and recorded frames."""
