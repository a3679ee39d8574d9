"""What is asked most, of all workers: merged, and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Network

from dnslb.control.top import TopClient, TopQueries, TopQuestion
from dnslb.dns import name, rrtype
from dnslb.worker.space_saving import Estimate, merged
from dnslb.worker.watchers import TopCounts

_MOST = 100  # names, and clients


def top(told: Sequence[TopCounts]) -> TopQueries:
    """What the workers have told."""
    return TopQueries(
        seconds=max((counts.seconds for counts in told), default=0.0),
        queries=sum(counts.queries for counts in told),
        workers=len(told),
        names=tuple(_question(key, *estimate) for key, estimate in _first(counts.questions for counts in told)),
        clients=tuple(_client(key, *estimate) for key, estimate in _first(counts.clients for counts in told)),
    )


def _first(parts: Iterable[Mapping[bytes, Estimate]]) -> list[tuple[bytes, Estimate]]:
    """What has certainly come most often first: in a flood of ever new names, these come last."""
    items = merged(parts).items()
    return sorted(items, key=lambda item: (item[1].error - item[1].most, -item[1].most, item[0]))[:_MOST]


def _question(key: bytes, most: int, error: int) -> TopQuestion:
    owner, wanted = key[:-4], key[-4:-2]
    if not name.is_whole(owner):
        return TopQuestion("(no question)", "", most, error)
    return TopQuestion(name.text(owner), rrtype.text(int.from_bytes(wanted)), most, error)


def _client(key: bytes, most: int, error: int) -> TopClient:
    return TopClient(str(IPv4Address(key) if len(key) == 4 else IPv6Network((key + bytes(8), 64))), most, error)
