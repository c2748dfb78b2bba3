"""The front door: command line, embedded stack and demo."""

VERSION = "0.2.0"
"""As in pyproject.toml; an image has no metadata of packages to ask."""
