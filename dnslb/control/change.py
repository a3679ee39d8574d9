"""A change that is remembered: a line of the history, and what hooks are told."""

from __future__ import annotations

from dataclasses import dataclass

# What may have changed, by the word under which people look for it.
KINDS = {
    "verdict": ("up", "down"),
    "backend": ("joined", "left"),
    "order": ("drain", "drain planned", "maint", "maint planned", "ready", "ready planned"),
    "load": ("overloaded", "relieved", "load unknown", "load known"),
    "reload": ("reloaded", "not reloaded"),
    "server": ("started", "stopped", "worker hung"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One line of history."""

    at: float
    owner: str | None  # None: under every name
    address: str
    what: str          # one of those in KINDS
    reason: str
    by: str = ""       # who gave the order; empty: it is none, or nobody knows


@dataclass(frozen=True, slots=True)
class Event:
    """A change as it is told to whoever follows."""

    id: str       # by which a follower says how far it has come
    change: Change
    lost: int     # that came before it, and are not known any more: the follower was too slow
