"""What the parent tells: status, metrics, history, and hooks on changes."""
