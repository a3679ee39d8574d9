"""Where the server keeps what survives a restart.  Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_directory(option: Path | None, environment: Mapping[str, str], uid: int) -> Path:
    """Where the state is kept: ``--state``, else by $XDG_STATE_HOME, else where user ``uid`` keeps such things.

    A relative $XDG_STATE_HOME is ignored, as its specification asks.
    """
    if option is not None:
        return option
    base = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base, "dnslb")
    home = environment.get("HOME", "")
    # A service without a home is given /var/lib/dnslb too.
    return Path("/var/lib/dnslb") if uid == 0 or not home else Path(home, ".local/state/dnslb")
