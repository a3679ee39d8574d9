"""A correct static nameserver library: names, records, zones, look-up and wire.  Knows no pools."""
