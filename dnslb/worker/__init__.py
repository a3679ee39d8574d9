"""A worker process: it answers on its own sockets, and does nothing else."""
