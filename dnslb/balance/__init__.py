"""A correct balancer: which addresses, in which order, for how long.  Knows no packets."""
