"""The running server: a parent that holds the sockets, and the workers that answer on them."""
