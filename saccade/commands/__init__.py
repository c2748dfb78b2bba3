"""One module per group of commands; each is a thin shell over a room."""
