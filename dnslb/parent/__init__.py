"""The parent process: it holds the sockets, probes, reloads, obeys operators and keeps the workers alive."""
