"""dnslb: an authoritative nameserver that balances load without a proxy."""

__version__ = "0.1.0"
