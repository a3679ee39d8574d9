"""What the process of the transfers is given when it is forked."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnslb.answer.snapshot import RRsetKey
from dnslb.config.keys import TsigKey
from dnslb.config.nameserver import Nameserver, TransferPolicy
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.transfer.messages import Served
from dnslb.transfer.publication import Version


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that the process needs."""

    zones: Mapping[Name, Zone]                    # all that are served
    policies: Mapping[Name, TransferPolicy]       # of those that are transferred
    primaries: Mapping[Name, Sequence[Nameserver]]  # of the zones that come from elsewhere, those not held too
    keys: Mapping[str, TsigKey]                   # by name
    ceilings: Mapping[RRsetKey, int]              # TTLs of pools at rest
    served: Served                                # what the pools serve as it begins
    versions: Mapping[Name, Version]              # what was published before
    serials: Mapping[Name, int]                   # of zones without a version, from an earlier life of the server
    updates: Mapping[Name, frozenset[str]]        # the keys by which zones may be changed, by zone
    inlet: Inlet                                  # what workers leave to it
    udp: Sequence[socket.socket]                  # by which packets are answered, in the order of the endpoints
