"""Every message, key, topic and file format that crosses a process, with versions and limits.

Imports the standard library, numpy, msgpack and zstandard only; every other room may import it.
"""
