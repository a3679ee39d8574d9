"""A secondary that signs: what dnslb finds out arrives with signatures that hold."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dnslb_server import eventually
from peers import Address, free_port
from programs import program
from propagation.servers import BIND, KNOT, Secondary
from secondaries import ZONE, asked, following
from test_transfers import Fleet, all_of

pytestmark = pytest.mark.long

_SIGNING = {
    KNOT: "    dnssec-signing: on\n    serial-policy: unixtime\n",
    BIND: "  dnssec-policy default;\n  inline-signing yes;\n",
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def validated(place: Address, anchors: Path) -> set[str]:
    """The addresses of www when delv finds that their signatures lead to the anchor; none when it does not."""
    command = [
        *(program("delv", "bind9-dnsutils"), f"@{place.host}", "-p", str(place.port), "-a", str(anchors)),
        *(f"+root={ZONE}", f"www.{ZONE}", "A"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if "; fully validated" not in said:
        return set()
    return {words[-1] for line in said.splitlines() if len(words := line.split()) == 5 and words[3] == "A"}


@pytest.mark.parametrize("peer", _SIGNING, ids=lambda peer: peer.name)
def test_a_verdict_arrives_signed(fleet: Fleet, tmp_path: Path, peer: Secondary) -> None:
    world, place = fleet.world, Address("127.0.0.1", free_port())
    policy = world.directory / f"zones/{ZONE}.yaml"
    policy.write_text(policy.read_text() + f"secondaries: [{{address: 127.0.0.1, port: {place.port}, key: fleet}}]\n")
    fleet.serve()
    fleet.stack.enter_context(following(peer, tmp_path, place.port, [fleet.port], extra=_SIGNING[peer]))
    eventually(lambda: asked(place, ZONE, "DNSKEY") is not None, "it has keys", 20.0)
    anchors = tmp_path / "anchors"
    keys = [key for key in asked(place, ZONE, "DNSKEY") if key.flags == 257]
    published = [f'257 3 {int(key.algorithm)} "{b64encode(key.key).decode()}"' for key in keys]
    lines = "".join(f"  {ZONE}. static-key {key};\n" for key in published)
    anchors.write_text(f"trust-anchors {{\n{lines}}};\n")
    everybody = all_of(world)
    eventually(lambda: validated(place, anchors) == everybody, "they are signed", 20.0)
    (world.up / "192.0.2.2").unlink()
    eventually(lambda: validated(place, anchors) == everybody - {"192.0.2.2"}, "the change is signed", 20.0)
    (world.up / "192.0.2.2").touch()
    eventually(lambda: validated(place, anchors) == everybody, "the next one too", 20.0)
    # What lags behind is told by serials: a signer's may be ahead of ours, not behind.
    eventually(lambda: not world.ask("GET", "/status")["secondaries"][0]["lags"], "we know that it has it", 10.0)
    # Without its own key nothing holds.
    anchors.write_text(anchors.read_text().replace('"', '"AAAA', 1))
    assert not validated(place, anchors)
