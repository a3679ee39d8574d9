"""dnslb without what damps load feedback: each reading counts whole, and at once.

    python -m comparison.naive serve DIRECTORY ...

Nobody should serve so; the experiment ``feedback`` shows why.
"""

from __future__ import annotations

from dnslb.balance import load
from dnslb.cli import main


def undamp() -> None:
    """There is no setting for it."""
    load.damping = lambda probe, ttl: 1e-9
    load._MOST_BELIEVED, load._STICKS = 1.0, 0.0


if __name__ == "__main__":
    undamp()
    main()
