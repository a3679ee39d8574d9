"""The values that commands, the API and the parent exchange."""
