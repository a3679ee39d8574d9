"""How operators reach a running server: an API of HTTP and JSON, on a Unix socket and on a TCP address."""
