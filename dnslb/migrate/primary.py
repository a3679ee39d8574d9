"""Zones, fetched from the server that has them: AXFR (RFC 5936), signed with TSIG (RFC 8945) if there is a key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from dnslb.config.keys import TsigKey
from dnslb.config.nameserver import Nameserver
from dnslb.config.settings import Endpoint
from dnslb.dns import name
from dnslb.migrate.imported import Imported
from dnslb.transfer import tsig
from dnslb.transfer.fetching import fetch, told
from dnslb.transfer.receipt import Broken, Receipt

_REMEDY = "it must answer here, and give the zone to this machine or to the key; its log says more"


def read(primary: Endpoint, zones: Sequence[str], key: TsigKey | None) -> Imported:
    """A file for each of the zones that the primary gives."""
    outcome = Imported()
    for zone in zones:
        try:
            lines = asyncio.run(_fetched(primary, zone, key))
        except (Broken, OSError) as error:
            outcome.leave(str(primary), f"zone {zone}", f"{told(error)}; {_REMEDY}")
        else:
            file = outcome.add_zone(zone, "".join(lines).encode())
            outcome.take(str(primary), f"zone {zone}", f"{file}, {len(lines)} records")
    outcome.add_settings({})
    return outcome


async def _fetched(primary: Endpoint, zone: str, key: TsigKey | None) -> list[str]:
    """The zone as lines of a master file.  Raises Broken, OSError."""
    apex = name.fold(name.parse(f"{zone}.", name.ROOT))
    keys = {} if key is None else {key.name: key}
    nameserver = Nameserver(primary.address, primary.port, None if key is None else key.name)
    receipt, lines = Receipt(apex, None), list[str]()
    async with aclosing(fetch(nameserver, apex, None, tsig.keyring(keys))) as parts:
        async for part in parts:
            for record in part.records:
                lines += receipt.take(record)
            if receipt.is_whole and part.is_verified:
                break
    return lines
