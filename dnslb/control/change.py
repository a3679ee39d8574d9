"""A change that is remembered: a line of the history, and what hooks are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One line of history."""

    at: float
    owner: str | None  # None: under every name
    address: str
    what: str          # up, down, drain, drain planned, maint, maint planned, ready, ready planned, worker hung
    reason: str
    by: str = ""       # who gave the order; empty: it is none, or nobody knows
