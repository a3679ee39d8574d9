"""``scripts/soak``: dnslb for an hour, with all that happens to a server in a year; every answer is checked."""
