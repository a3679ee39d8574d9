"""An operator's order as it is given, and what it has done: values only.  Times are Unix times."""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.balance.operator_order import Mode


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as it is given: addresses and names may be patterns of the shell."""

    mode: Mode
    addresses: tuple[str, ...]
    names: tuple[str, ...] = ()   # none: under every name
    at: float | None = None
    until: float | None = None
    reason: str = ""
    by: str = ""                  # who gives it
    now: bool = False             # ready: hand it out before a probe has passed
    force: bool = False           # drain, maint: even if less is left than a pool's ``min_ready``


@dataclass(frozen=True, slots=True)
class DrainClock:
    """What an order has done to one address in one RRset."""

    owner: str
    type: str
    address: str
    mode: str
    expires: float | None  # when the last cached copy of it does, or did; None: it is handed out
    note: str = ""         # what the operator should know
    since: float | None = None  # when the order was given that stands for it now; None: there is none
    changed: bool = True   # False: it was so already


@dataclass(frozen=True, slots=True)
class Left:
    """What an order has left of one RRset, when it is in force: of what is up and ready."""

    owner: str
    type: str
    backends: int
    of: int
    percent: float  # of the weight


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What an order has done."""

    clocks: tuple[DrainClock, ...]
    warnings: tuple[str, ...]    # what the operator should know of the server
    left: tuple[Left, ...] = ()  # by drain and maint; those with the least first
