"""What a TTL costs and buys, and which to take; what a pool does, in words."""
