"""What can be wrong with octets that should be rdata.  What is wrong with words is a Mistaken."""

from __future__ import annotations


class Malformed(ValueError):
    """Octets that are no rdata of their type.  Never reaches a caller of this package."""


class Unwritable(ValueError):
    r"""Rdata that only ``\#`` can write.  Never reaches a caller of this package."""
