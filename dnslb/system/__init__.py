"""What the operating system and the event loop give: files, users, processes, logs, turns."""
