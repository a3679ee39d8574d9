"""A catalog zone (RFC 9432): Knot and BIND begin with a new zone by themselves, and end with one that is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dnslb_server import eventually, started
from peers import Address, free_port, running
from programs import program
from propagation.servers import Setting
from secondaries import KEY, asked

from dnslb.config import keys
from dnslb.dns import name, rrtype
from dnslb.transfer.catalog_zone import catalog_zone

CATALOG = "catalog.test"
ZONE = "$TTL 60\n@ SOA ns1 h 1 3600 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\n"


def knot(setting: Setting) -> str:
    [primary] = setting.primaries
    return f"""server:
  listen: 127.0.0.1@{setting.port}
  rundir: {setting.directory}
database:
  storage: {setting.directory}
key:
  - id: fleet
    algorithm: {KEY.algorithm}
    secret: {setting.secret}
remote:
  - id: dnslb
    address: 127.0.0.1@{primary}
    key: fleet
acl:
  - id: notify
    address: 127.0.0.1
    key: fleet
    action: notify
template:
  - id: default
    storage: {setting.directory}
    master: dnslb
    acl: notify
  - id: member
    storage: {setting.directory}
    master: dnslb
    acl: notify
zone:
  - domain: {CATALOG}
    catalog-role: interpret
    catalog-template: member
"""


def bind(setting: Setting) -> str:
    primaries = f"127.0.0.1 port {setting.primaries[0]} key fleet;"
    return f"""{keys.text(KEY)}
options {{
  directory "{setting.directory}";
  listen-on port {setting.port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  pid-file none;
  session-keyfile none;
  notify no;
  catalog-zones {{ zone "{CATALOG}" default-primaries {{ {primaries} }} in-memory yes min-update-interval 1; }};
}};
controls {{ }};
zone "{CATALOG}" {{ type secondary; primaries {{ {primaries} }}; file "catalog.db"; allow-notify {{ key fleet; }}; }};
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as kept:
        yield kept


@pytest.mark.long
@pytest.mark.parametrize(("path", "package", "configure", "options"), [
    ("knotd", "knot", knot, ("-c",)), ("named", "bind9", bind, ("-g", "-n", "1", "-c")),
])  # fmt: skip
def test_a_new_zone_is_served_by_secondaries_and_one_that_is_gone_is_not(  # noqa: PLR0917
    tmp_path: Path, stack: ExitStack, path: str, package: str, configure: Callable[[Setting], str],
    options: tuple[str, ...],
) -> None:  # fmt: skip
    port, place = free_port(), Address("127.0.0.1", free_port())
    key, zones, there = tmp_path / "fleet.key", tmp_path / "zones", tmp_path / "there"
    key.write_text(keys.text(KEY))
    key.chmod(0o600)
    zones.mkdir()
    there.mkdir()
    (zones / "first.test.zone").write_text(ZONE)
    (zones / "dnslb.yaml").write_text(
        f"keys: {{fleet: {key}}}\ncatalog_zone: {CATALOG}\nconfirm: 0s\n"
        f"secondaries: [{{address: 127.0.0.1, port: {place.port}, key: fleet}}]\n"
    )
    stack.enter_context(started(tmp_path, "--listen", f"127.0.0.1:{port}", "--workers", "1"))
    file = there / "conf"
    file.write_text(configure(Setting(there, place.port, [port], [CATALOG], KEY)))
    stack.enter_context(running([program(path, package), *options, str(file)], there / "log"))
    eventually(lambda: asked(place, "ns1.first.test", "A") is not None, "it is not there", 20.0)
    (zones / "second.test.zone").write_text(ZONE)
    eventually(lambda: asked(place, "ns1.second.test", "A") is not None, "it is not there", 20.0)
    (zones / "second.test.zone").unlink()
    eventually(lambda: asked(place, "ns1.second.test", "A") is None, "it is still there", 20.0)
    assert asked(Address("127.0.0.1", port), CATALOG, "NS") is None


def test_members_keep_their_labels() -> None:
    apex, *members = (name.parse(f"{text}.test.", name.ROOT) for text in ("catalog", "a", "b"))
    one, two = catalog_zone(apex, members[:1]), catalog_zone(apex, members)
    assert one.nodes.items() <= two.nodes.items()
    assert len(two.nodes) == len(one.nodes) + 1
    assert one.soa.rrtype == rrtype.SOA
