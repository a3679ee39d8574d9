"""``dnslb.yaml`` → settings, or exactly what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from click import Option
from hypothesis import given
from hypothesis import strategies as st
from transcript import wire

from dnslb.balance.rotation import RRsetOrder
from dnslb.cli.serve import serve
from dnslb.config import clients, settings, transfers
from dnslb.config.named_zone import NamedZone
from dnslb.config.rate_limit import RateLimit
from dnslb.config.recording import Dnstap, QueryLog
from dnslb.config.settings import Endpoint, Settings, parse_endpoint

pytestmark = pytest.mark.usefixtures("yaml_parser")  # all of it, with either parser

REFERENCE = Path(__file__).parent.parent / "zones" / "README.md"
ORDERS = "cyclic, spread, random, none, sticky"
KNOWN = (
    "admin, admin_hosts, admin_tls, admin_token_file, allow, catalog_zone, confirm, control, cookie_secret_file, "
    "cookies, deny, dnstap, include_from, keys, listen, log_format, log_level, on_change, order, orphan_grace, "
    "peers, proxies, query_log, rate_limit, secondaries, server_id, "
    "server_version, settle, state, tcp_connections, tcp_idle, tcp_per_client, transfer_to, user, watch, "
    "worker_timeout, workers, zones"
)


def endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(ip_address(host), port)


@pytest.mark.parametrize(("text", "expected"), [
    ("", Settings()),
    ("\n\n", Settings()),
    ("# nothing\n", Settings()),
    ("---\n", Settings()),
    ("{}", Settings()),
    ("listen: 192.0.2.1:53", Settings(listen=(endpoint("192.0.2.1", 53),))),
    ("listen: 192.0.2.1", Settings(listen=(endpoint("192.0.2.1", 53),))),
    ("listen: '[2001:db8::1]:5300'", Settings(listen=(endpoint("2001:db8::1", 5300),))),
    ("listen: '::1'", Settings(listen=(endpoint("::1", 53),))),
    ("listen:\n- 127.0.0.1:5300\n- '[::1]:5300'", Settings(
        listen=(endpoint("127.0.0.1", 5300), endpoint("::1", 5300))
    )),
    ("listen: [0.0.0.0:1, '[::]:65535']", Settings(listen=(endpoint("0.0.0.0", 1), endpoint("::", 65535)))),
    ("workers: 3", Settings(workers=3)),
    ("user: nobody", Settings(user="nobody")),
    ("order: cyclic", Settings(order=RRsetOrder.CYCLIC)),
    ("order: random", Settings(order=RRsetOrder.RANDOM)),
    ("order: none", Settings(order=RRsetOrder.NONE)),
    ("server_id: ns1", Settings(server_id="ns1")),
    ("server_id: 1", Settings(server_id="1")),
    ("dnstap: {socket: /run/tap.sock}", Settings(dnstap=Dnstap(Path("/run/tap.sock")))),
    ("dnstap: {socket: /run/tap.sock, sample: 0.5%}", Settings(dnstap=Dnstap(Path("/run/tap.sock"), 0.005))),
    ("query_log: {file: /q.log, format: json, sample: 100%}", Settings(query_log=QueryLog(Path("/q.log"), "json"))),
    ("server_version: 'dnslb, and more'", Settings(server_version="dnslb, and more")),
    (f"server_id: {'é' * 127}", Settings(server_id="é" * 127)),
    ("tcp_connections: 100000", Settings(tcp_connections=100000)),
    ("tcp_per_client: 1", Settings(tcp_per_client=1)),
    ("tcp_idle: 500ms", Settings(tcp_idle=0.5)),
    ("tcp_idle: 1h", Settings(tcp_idle=3600.0)),
    ("watch: no", Settings(watch=False)),
    ("cookies: required\ncookie_secret_file: /c", Settings(cookies="required", cookie_secret_file=Path("/c"))),
    ("rate_limit: no", Settings(rate_limit=RateLimit(0))),
    ("rate_limit: {per_second: 20, slip: 0, exempt: 192.0.2.0/24}", Settings(
        rate_limit=RateLimit(20, 0, (ip_network("192.0.2.0/24"),))
    )),
    ("rate_limit: {exempt: []}", Settings(rate_limit=RateLimit(500, 2, ()))),
    ("settle: 2s\nconfirm: 10m", Settings(settle=2.0, confirm=600.0)),
    ("confirm: 0s", Settings(confirm=0.0)),
    ("state: /var/lib/dnslb", Settings(state=Path("/var/lib/dnslb"))),
    ("admin: 127.0.0.1", Settings(admin=endpoint("127.0.0.1", 5380))),
    ("admin: '[::1]:80'", Settings(admin=endpoint("::1", 80))),
    ("admin_hosts: NS1.example.com.", Settings(admin_hosts=("ns1.example.com",))),
    ("admin_hosts: [ns1, ns2.example.com]", Settings(admin_hosts=("ns1", "ns2.example.com"))),
    ("peers: {NS2.: 'https://ns2.example.com:5380'}", Settings(peers={"ns2": "https://ns2.example.com:5380"})),
    ("admin_token_file: /etc/dnslb/token", Settings(admin_token_file=Path("/etc/dnslb/token"))),
    ("zones: {Long.Example.: short.zone}", Settings(zones=(NamedZone(wire("long.example."), "short.zone"),))),
    ("zones: {'0/25.2.0.192.in-addr.arpa': x.zone}", Settings(
        zones=(NamedZone(b"\x040/25\x012\x010\x03192\x07in-addr\x04arpa\0", "x.zone"),)
    )),
    ("\ufeffworkers: 3\r\norder: none\r\n", Settings(workers=3, order=RRsetOrder.NONE)),     # as Windows writes it
    ("x: &x 2\n".replace("x: &x", "workers: &x") + "tcp_per_client: *x", Settings(workers=2, tcp_per_client=2)),
])  # fmt: skip
def test_what_is_written_is_set(text: str, expected: Settings) -> None:
    assert settings.read(text.encode(), "dnslb.yaml") == (expected, [])


@pytest.mark.parametrize(("text", "problems"), [
    ("- listen", [f"1:1: the file is no mapping; write keys and values: {KNOWN}"]),
    ("listen", [f"1:1: the file is no mapping; write keys and values: {KNOWN}"]),
    ("worker: 2", ["1:1: the file has no key worker; did you mean workers?"]),
    ("# a comment\nworkers: 2\ntcp-idle: 5s", ["3:1: the file has no key tcp-idle; did you mean tcp_idle?"]),
    ("adress: x", [f"1:1: the file has no key adress; known are: {KNOWN}"]),
    ("workers: 2\nworkers: 2", ["2:1: workers is given twice; remove one of the two"]),
    ("workers: 0", ["1:10: 0 is no number from 1 to 64; write such a number"]),
    ("workers: auto", ["1:10: auto is no number from 1 to 64; write such a number"]),
    ("workers:", ["1:9: a word is missing; write one value here"]),
    ("user: ''", ["1:7: a word is missing; write one value here"]),
    ("user: {name: x}", ["1:7: a word is missing; write one value here"]),
    ("order: cyclick", ["1:8: cyclick is not one of cyclic, spread, random, none, sticky; did you mean cyclic?"]),
    ("order: x", [f"1:8: x is not one of {ORDERS}; known are: cyclic, none, random, spread, sticky"]),
    ("listen: []", ["1:9: the list is empty; write at least one address and port"]),
    ("listen: localhost:53", ["1:9: localhost:53 is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53"]),
    ("listen: 5300", ["1:9: 5300 is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53"]),
    ("listen: 127.0.0.1:0", ["1:9: 127.0.0.1:0 is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53"]),
    ("listen: [127.0.0.1:70000, 127.0.0.1:1]", [
        "1:10: 127.0.0.1:70000 is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53",
    ]),
    ("listen: [192.0.2.1, '192.0.2.1:53']", ["1:21: 192.0.2.1:53 is given twice; remove one of the two"]),
    ("tcp_connections: 100001", ["1:18: 100001 is no number from 1 to 100000; write such a number"]),
    ("tcp_idle: 10", ["1:11: 10 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"]),
    ("cookies: require", ["1:10: require is not one of yes, no, required; did you mean required?"]),
    ("rate_limit: yes", ["1:13: yes is not one of no; known are: no"]),
    ("rate_limit: {per_second: 0}", ["1:26: 0 is no number from 1 to 1000000; write such a number"]),
    ("rate_limit: {exempt: 192.0.2.1/24}", [
        "1:22: 192.0.2.1/24 is no network; write one as 192.0.2.0/24 or 2001:db8::/32",
    ]),
    ("state: here", ["1:8: here is no absolute path; begin it with /"]),
    ("admin: 5380", ["1:8: 5380 is no address and port; write 127.0.0.1:5380 or [::1]:5380"]),
    ("admin: [127.0.0.1]", ["1:8: a word is missing; write one value here"]),
    ("admin_token_file: token", ["1:19: token is no absolute path; begin it with /"]),
    ("admin_tls: /etc/dnslb/key.pem", ["1:12: admin_tls is no mapping; write keys and values: certificate, key"]),
    ("admin_tls: {key: /k}", [
        "1:12: admin_tls needs a certificate and a key; write {certificate: /path, key: /path}",
    ]),
    ("admin_tls: {certificate: cert.pem, key: /k, ca: /x}", [
        "1:45: admin_tls has no key ca; known are: certificate, key",
        "1:26: cert.pem is no absolute path; begin it with /",
    ]),
    ("admin_hosts: [a, 'http://b', 'c:5380']", [
        "1:18: http://b is no host name; write it without port, as in ns1.example.com",
        "1:30: c:5380 is no host name; write it without port, as in ns1.example.com",
    ]),
    ("peers: {a b: 'http://b', c: 'javascript:x'}", [
        "1:9: a b is no name of a node; write it as in ns2: https://ns2.example.com:5380",
        "1:29: javascript:x is no URL; write http://192.0.2.1:9000/path or https://example.com/path",
    ]),
    ("dnstap: /run/tap", ["1:9: dnstap is no mapping; write keys and values: sample, socket"]),
    ("dnstap: {sample: 1%}", ["1:9: dnstap has no socket; write {socket: /run/dnstap.sock, sample: 1%}"]),
    ("dnstap: {socket: tap, sample: 0%}", [
        "1:18: tap is no absolute path; begin it with /",
        "1:31: 0% is no share above 0% and up to 100%; write such a share, as in 1%",
    ]),
    (f"dnstap: {{socket: /{'x' * 107}}}", [
        "1:18: the path is longer than 107 octets; put the socket nearer to the root",
    ]),
    ("query_log: {format: json}", [
        "1:12: query_log has no file; write {file: /var/log/dnslb/queries.log, sample: 1%}",
    ]),
    ("query_log: {file: q.log, format: xml, sample: 101%, compress: yes}", [
        "1:53: query_log has no key compress; known are: file, format, sample",
        "1:19: q.log is no absolute path; begin it with /",
        "1:34: xml is not one of text, json; known are: json, text",
        "1:47: 101% is no share above 0% and up to 100%; write such a share, as in 1%",
    ]),
    ("tcp_idle: 2h", ["1:11: 2h is out of range; write 0.1s to 3600s"]),
    ("zones: a.zone", ["1:8: zones is no mapping; write keys and values"]),
    ("zones: {a..b: a.zone}", ["1:9: the name a..b. has an empty label; remove the extra dot"]),
    ("zones: {a: b}", ["1:12: b is no zone file in this directory; write its name, as in short.zone"]),
    ("zones: {a: ../b.zone}", ["1:12: ../b.zone is no zone file in this directory; write its name, as in short.zone"]),
    ("zones: {a: .zone}", ["1:12: .zone is no zone file in this directory; write its name, as in short.zone"]),
    ("zones: {a: [b.zone]}", ["1:12: a word is missing; write one value here"]),
    ("zones: {a: b.zone, A.: c.zone}", ["1:20: A. is a zone already; remove one of the two"]),
    ("zones: {a: b.zone, c: b.zone}", ["1:23: b.zone is the file of a. already; give each zone its own"]),
    (f"server_id: {'x' * 256}", ["1:12: the text is longer than 255 octets; shorten it"]),
    (f"server_version: {'é' * 128}", ["1:17: the text is longer than 255 octets; shorten it"]),
    ("worker: 2\nworkers: 1000\norder: x y\ntcp_idle: soon\n", [
        "1:1: the file has no key worker; did you mean workers?",
        "2:10: 1000 is no number from 1 to 64; write such a number",
        "3:8: x y is not one of cyclic, spread, random, none, sticky; known are: cyclic, none, random, spread, sticky",
        "4:11: soon is no duration; write a number and a unit: 500ms, 5s, 2m, 1h",
    ]),
])  # fmt: skip
def test_every_mistake_is_reported_in_its_place(text: str, problems: list[str]) -> None:
    _, found = settings.read(text.encode(), "dnslb.yaml")
    assert [str(problem) for problem in found] == [f"dnslb.yaml:{problem}" for problem in problems]


def test_what_is_wrong_leaves_the_default_and_the_rest() -> None:
    found, problems = settings.read(b"workers: x\norder: none\n", "dnslb.yaml")
    assert len(problems) == 1
    assert found == Settings(order=RRsetOrder.NONE)


def names() -> Iterator[str]:
    """Of the keys: of some, two make one value."""
    pairs = {"transfers": transfers.KEYS, "clients": clients.KEYS}
    for field in fields(Settings):
        yield from pairs.get(field.name, (field.name,))


def test_every_setting_has_a_key() -> None:
    assert ", ".join(sorted(names())) == KNOWN


def test_every_setting_is_in_the_reference_with_its_option() -> None:
    rows = re.findall(r"^\| `(\w+)`(?:, `(--[\w-]+)`)? \|", REFERENCE.read_text(), re.MULTILINE)
    options = {str(parameter.name): parameter.opts[0] for parameter in serve.params if isinstance(parameter, Option)}
    for name in names():
        assert (name, options.get(name, "")) in rows


@pytest.mark.parametrize(("text", "expected"), [
    ("192.0.2.1:53", ("192.0.2.1", 53)),
    ("192.0.2.1", ("192.0.2.1", 53)),
    ("[2001:db8::1]:53", ("2001:db8::1", 53)),
    ("[2001:db8::1]", ("2001:db8::1", 53)),
    ("2001:db8::1", ("2001:db8::1", 53)),
    ("::", ("::", 53)),
    ("::1", ("::1", 53)),
    ("[::]:5300", ("::", 5300)),
    ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    *((text, None) for text in (
        "", ":53", "53", "localhost", "localhost:53", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.256:53",
        "192.0.2.1:x", "192.0.2.1:５３", "[]:53", "[::1", "::1]:53", "[::1]:", "192.0.2.1:53:53", "*:53",
        "192.0.2.1:53 ", "192.0.2.1\n", "192.0.2.1:053000",
    )),
])  # fmt: skip
def test_an_endpoint_is_an_address_and_perhaps_a_port(text: str, expected: tuple[str, int] | None) -> None:
    assert parse_endpoint(text) == (None if expected is None else endpoint(*expected))


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_endpoint_is_read_as_it_is_printed(address: object, port: int) -> None:
    printed = Endpoint(ip_address(str(address)), port)
    assert parse_endpoint(str(printed)) == printed


@given(st.text())
def test_any_text_is_an_endpoint_or_none(text: str) -> None:
    parse_endpoint(text)


@given(st.dictionaries(st.sampled_from([*KNOWN.split(", "), "x"]), st.text(max_size=8), max_size=4))
def test_any_values_are_settings_or_problems(values: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in values.items())
    found, problems = settings.read(text.encode(errors="surrogatepass"), "dnslb.yaml")
    assert isinstance(found, Settings)
    assert all(problem.file == "dnslb.yaml" for problem in problems)
