"""What ``serve`` says once it answers."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from dnslb import __version__
from dnslb.cli import report
from dnslb.config.catalog import Catalog
from dnslb.config.settings import Endpoint, Settings
from dnslb.dns import name, rrtype
from dnslb.dns.zone import find
from dnslb.parent import parent


def text(directory: Path, catalog: Catalog, settings: Settings) -> str:
    """What is served where, and a question to try."""
    places = ", ".join(map(str, settings.listen))
    workers = report.count(parent.worker_count(settings), "worker")
    endpoint, admin = _from_here(settings.listen[0]), settings.admin
    scheme = "http" if settings.admin_tls is None else "https"
    return "\n".join((
        f"dnslb {__version__} serves {directory} on {places} (UDP and TCP), {workers}",
        *(f"  {line}" for line in report.summary(catalog)),
        *((f"status page: {scheme}://{_from_here(admin)}/",) if admin is not None else ()),
        f"try: dig @{endpoint.address} -p {endpoint.port} {_example(catalog)}",
    ))


def _from_here(endpoint: Endpoint) -> Endpoint:
    """How to reach it from this machine."""
    if not endpoint.address.is_unspecified:
        return endpoint
    return Endpoint(ip_address("::1" if endpoint.address.version == 6 else "127.0.0.1"), endpoint.port)


def _example(catalog: Catalog) -> str:
    """A question worth asking: for the name with the most addresses."""
    sizes = {
        owner: sum(len(rrset.rdatas) for rrset in node if rrset.rrtype in (rrtype.A, rrtype.AAAA))
        for zone in catalog.zones.values()
        for owner, node in zone.nodes.items()
        if find(node, rrtype.A) is not None and not name.is_wildcard(owner)
    }
    if not sizes:
        return f"{name.text(next(iter(catalog.zones), next(iter(catalog.absent), name.ROOT)))} SOA"
    return name.text(max(sizes, key=lambda owner: sizes[owner]))
