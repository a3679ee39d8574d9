"""``scripts/fuzz``: octets that nobody meant, for everything in dnslb that reads octets from others."""
