"""The server worker: batch token sets of any length through the large model."""
