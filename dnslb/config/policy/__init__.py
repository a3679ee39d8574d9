"""Policy files, ``example.com.yaml``: pools out of YAML and a zone's addresses, or everything that is wrong.

Pure: the caller brings the function that finds an owner in the zone.
"""

from __future__ import annotations

from dnslb.config.policy.reader import Owner, Policy, primaries, read

__all__ = ["Owner", "Policy", "primaries", "read"]
