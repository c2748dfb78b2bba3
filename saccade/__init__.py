"""The front door: command line, embedded stack and demo."""
