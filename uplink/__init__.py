"""The uplink's budget: pure decisions, and the shell that awaits, sends and talks to the site's Redis."""
