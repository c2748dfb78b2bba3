"""Every message, key and file that crosses a process border; stdlib, numpy, msgpack and zstandard only."""
