"""Zone transfers: what this node would answer, given to secondaries whenever it changes."""
