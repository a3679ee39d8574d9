"""How a change travels: dnslb, its secondaries, and a resolver in front of them, on loopback."""
