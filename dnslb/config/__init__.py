"""The directory that users edit, read: settings, zones, policies, hooks."""
