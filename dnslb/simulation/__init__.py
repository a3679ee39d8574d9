"""A pool tried before it serves, by the server's own decisions in a made-up world; and old probes judged anew."""
