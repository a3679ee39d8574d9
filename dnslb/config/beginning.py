"""A directory to begin with: one zone, one probed pool, and the settings of the server, as files with comments.

Pure: what the files hold, not where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from dnslb.balance.pool import Address

SERVER = "dnslb.yaml"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator says of the zone to begin with."""

    zone: str                                         # its name, without the last dot
    owner: str                                        # of the pool, relative to the zone, or @
    addresses: Sequence[Address]    # of the servers behind the name
    nameserver: Address             # where the world will reach dnslb
    port: int = 80                                    # that is probed
    path: str | None = None                           # that is asked for by HTTP; None: a connection is enough


def files(wanted: Wanted, serial: int) -> dict[str, str]:
    """The text of each file, by its name."""
    return {
        f"{wanted.zone}.zone": zone(wanted.zone, wanted.nameserver, {wanted.owner: wanted.addresses}, serial),
        f"{wanted.zone}.yaml": _policy(wanted),
        SERVER: _SETTINGS,
    }


def zone(
    apex: str, nameserver: Address, owners: Mapping[str, Sequence[Address]], serial: int
) -> str:
    """A zone file with a nameserver and the addresses of some names, relative ones."""
    records = "\n".join(
        _record("" if index else owner, address)
        for owner, addresses in owners.items()
        for index, address in enumerate(addresses)
    )
    return f"""\
; {apex}: an ordinary zone file (RFC 1035), which BIND, NSD and Knot load too.

$TTL 5m                         ; the longest that an answer may be kept; a pool with a promise goes below it

@           SOA     ns1 hostmaster {serial} 1h 15m 2w 1m
            NS      ns1
{_record("ns1", nameserver):<31} ; this server, as others reach it; a second one is wise

; Every address of a pool is a server.  {apex}.yaml says how they are probed.
{records}
"""


def _record(owner: str, address: Address) -> str:
    return f"{owner:<11} {'A' if address.version == 4 else 'AAAA':<7} {address}"


def _policy(wanted: Wanted) -> str:
    if wanted.path is None:
        probe = [f"{f'tcp: {wanted.port}':<25} # a connection is enough; also http, https, dns, exec"]
    else:
        asked = f"http: {_scalar(wanted.path)}"
        probe = [f"{asked:<25} # asked for, and answered with 200 to 299", f"port: {wanted.port}"]
    owner = f"{_scalar(wanted.owner)}:"
    check = "\n      ".join(probe)
    return f"""\
# The balancing of the zone {wanted.zone}: pools on its owner names.  Without this file the zone is served all the same.

pools:
  {owner:<29} # the owner name: its A and AAAA records are the backends
    probe:
      {check}
      interval: 5s              # from one probe to the next
      timeout: 2s               # no answer for so long is a failure
      fall: 3                   # so many failures in a row take a server out
      rise: 2                   # so many successes in a row bring it back
    ttl: {{min: 5s, failover: 60s}}   # a dead server gets no new client 60 s after it died
"""


def _scalar(text: str) -> str:
    """As YAML writes text: bare where it can be read as nothing else."""
    return yaml.safe_dump(text, allow_unicode=True).splitlines()[0]


_SETTINGS = """\
# The server itself.  Every line is optional; the options of `dnslb serve` have the same names and override it.

listen: 127.0.0.1:5300        # to try it; for the world: [192.0.2.1:53, "[2001:db8::1]:53"], your own addresses
# user: dnslb                 # become this user once the ports are open (start as root for port 53)
# admin: 127.0.0.1:5380       # status page and API over TCP
"""
