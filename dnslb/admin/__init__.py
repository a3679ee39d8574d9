"""How operators reach a running server: an API of HTTP and JSON on a unix socket."""
