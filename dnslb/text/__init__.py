"""What people write and read: YAML with places, mistakes, lengths and points of time."""
