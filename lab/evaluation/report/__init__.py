"""The report folder: Markdown page, results.json, CSV tables and PNG plots from a finished measurement."""
