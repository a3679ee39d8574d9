"""Between processes: messages, liveness, sockets and connections handed over."""
