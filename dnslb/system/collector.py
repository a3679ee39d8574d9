"""A pause for the cyclic garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collections inside.

    The collector walks what is alive each time so many objects were made.  A zone is a million tuples made in a row,
    none of them in a cycle: it would walk them again and again to find nothing, at up to half the time of a load.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
