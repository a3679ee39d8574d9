"""The documents say what the program does: every console block, example, message and link in them is tried.

A block marked ``console`` is a session: lines behind ``$ `` are commands, the lines up to the next are their output,
exactly.  Each block begins anew, with a server of its own when it asks one.  A table whose header is a ``HEADER``
has master-file lines on the left, as the end of a zone or as all of it, and on the right what becomes of them.

``python tests/test_readme.py`` writes the real outputs into the documents; to judge the diff is up to its reader.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir
from ipaddress import ip_address, ip_network
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from dnslb_server import DNSLB, eventually, launched, serving
from peers import STARTING, free_port, zone_files
from programs import program

from dnslb.config import keys, settings
from dnslb.config.directory import load as load_directory
from dnslb.config.keys import TsigKey
from dnslb.dns import master, name, rrtype
from dnslb.dns.rdata.table import FORMATS
from dnslb.dns.zone import Zone
from dnslb.text.problem import Level, Problem

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "zones"
MANUAL = ROOT / "dnslb" / "manual"
DOCUMENTS = [
    *(directory / "README.md" for directory in (ROOT, SAMPLES, ROOT / "scripts", ROOT / "dnslb")),
    *sorted(MANUAL.glob("*.md")),
]
MOST_LINES = 400  # of README.md, so that somebody reads it
REFERENCE = SAMPLES / "README.md"
PORT = 5300  # as the documents have it
COMMANDS = {"cat", "dig", "dnslb"}

# The directory ``broken`` of the documents.
BROKEN = """\
$TTL 5m
@     SOA     ns1 hostmaster 2026112001 1h 15m 2w 1m
      NS      ns1
      MX      10 mail.example.com
ns1   A       192.0.2.1
www   A       192.0.2.11
      A       192.0.2.300
api   CNAME   www
api   TXT     "version 2"
img   99999999999 A 192.0.2.21
a-name-that-was-made-by-a-program-and-is-longer-than-63-characters A 192.0.2.22
"""

# The directory ``office``: a pool in one's own network.
OFFICE = {
    "example.com.zone": """\
$TTL 5m
@     SOA     ns1 hostmaster 2026112001 1h 15m 2w 1m
      NS      ns1
ns1   A       10.0.0.2
wiki  A       10.0.0.20
      A       10.0.0.70
mail  A       10.0.0.180
      A       10.0.0.200
""",
    "example.com.yaml": """\
pools:
  wiki: {answers: {near: 1, far: all}}
  mail: {answers: all}
""",
}

# The directory ``busy``: pools that ask for load.
BUSY = {
    "example.com.zone": """\
$TTL 5m
@     SOA     ns1 hostmaster 2026112001 1h 15m 2w 1m
      NS      ns1
ns1   A       192.0.2.1
$GENERATE 11-12 www A 192.0.2.$
$GENERATE 21-22 api A 192.0.2.$
$GENERATE 31-32 img A 192.0.2.$
""",
    "example.com.yaml": """\
defaults:
  answers: 1
  ttl: 5s
pools:
  www:
    probe: {http: /healthz, interval: 1s, load: {header: X-Load, overload: 90%}}
  api:
    probe: {tcp: 443, interval: 2s, load: {agent: 8888}}
  img:
    probe: {tcp: 443, load: {prometheus: /metrics, port: 9100, metric: node_load1, full: 8}}
""",
}

# The directory ``hidden``: pools whose answers go by who asks.
HIDDEN = {
    "example.com.zone": BUSY["example.com.zone"].replace("$TTL 5m", "$TTL 2m"),
    "example.com.yaml": """\
pools:
  www:
    answers: 1
    ttl: {min: 5s, mean: 30s, adaptive: load}
    backends: {192.0.2.11: {weight: 2}}
  api:
    answers: 1
    order: least_assigned
  img:
    answers: 1
    hidden_load: true
""",
}

# The zone in which every line of the tables stands, and what $INCLUDE finds beside it.
EXAMPLE = """\
$TTL 5m
@     SOA     ns1 hostmaster 2026112001 1h 15m 2w 1m
@     NS      ns1
ns1   A       192.0.2.1
"""
INCLUDED = {"zones/printers.inc": "p1 A 192.0.2.81\n"}

RECORD = re.compile(r"[0-9.]+|\S+\s+\d+\tIN\t.*")  # as dig shows it
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"(?<=^```yaml\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
HEADER = re.compile(r"\| (you write|the whole file) \| (it means|error|warning) \|")
ROW = re.compile(r"\| (.*?) \|( .*)? \|")
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
DOTTED = re.compile(r"[\w*-]+(?:\.[\w-]+)+|[0-9a-f]*:[0-9a-f:]+")

DOCUMENTATION_NAMES = [  # RFC 2606, and the reverse zones of the networks below
    name.parse(text, name.ROOT)
    for text in (
        "example", "test", "invalid", "example.com", "example.net", "example.org", "2.0.192.in-addr.arpa",
        "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
    )
]  # fmt: skip
DOCUMENTATION_NETWORKS = [  # RFC 5737, RFC 3849; and loopback, for backends that are probed
    ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "127.0.1.0/24")
]


# Sessions


def session(block: str, directory: Path) -> str:
    """The block with the real outputs of its commands, run in the directory."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    if not block.startswith("$ "):
        raise ValueError(f"a console block that begins with no command:\n{block}")
    with ExitStack() as stack:
        stack.enter_context(chdir(directory))
        port = 0
        if any(command.startswith("dig ") for command in commands):
            program("dig", "bind9-dnsutils")
            port = stack.enter_context(serving(Path("zones"), directory))[0].port
        return "".join([f"$ {command}\n{output(command, port)}" for command in commands])


def output(command: str, port: int) -> str:
    """What the command prints, on both streams."""
    words = shlex.split(command)
    if words[0] not in COMMANDS or any(char in command for char in "|&;<>`$"):
        raise ValueError(f"a command that cannot be run here: {command}")
    if words[:2] == ["dnslb", "serve"] and "--help" not in words:
        return announcement(words[2:])
    if words[0] == "dig":
        if words[1:4] != ["@127.0.0.1", "-p", str(PORT)] or not {"+short", "+noall"} & set(words):
            raise ValueError(f"a dig of another server, or with an output that varies: {command}")
        words[3] = str(port)
    if words[0] == "dnslb":
        words = [*DNSLB, *words[1:]]
    environment = os.environ | {"COLUMNS": "80", "HOME": os.getcwd(), "LC_ALL": "C.UTF-8"}  # no ~/.digrc
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False, env=environment
    )
    if done.returncode not in ({0, 1} if words[3:4] == ["check"] else {0}):
        raise ValueError(f"{command} ended with status {done.returncode}\n{done.stdout}")
    return done.stdout


def announcement(options: list[str]) -> str:
    """What ``dnslb serve`` prints at its start."""
    port = free_port()
    ours = ["--state", os.path.abspath("state"), "--control", os.path.abspath("control")]
    command = [*DNSLB, "serve", *options, "--listen", f"127.0.0.1:{port}", *ours]
    with launched(command, Path()) as server:
        eventually(lambda: "try: dig" in server.said or server.popen.poll() is not None, "silence", STARTING)
        if server.popen.poll() is not None:
            raise ValueError(f"dnslb serve ended\n{server.log}")
        return re.sub(rf"\b{port}\b", str(PORT), server.said)


def furnish(directory: Path) -> Path:
    """The directory, with what the documents' commands find in theirs."""
    shutil.copytree(SAMPLES, directory / "zones")
    (directory / "broken").mkdir()
    (directory / "broken" / "example.com.zone").write_text(BROKEN)
    for called, files in {"office": OFFICE, "busy": BUSY, "hidden": HIDDEN}.items():
        (directory / called).mkdir()
        for file, text in files.items():
            (directory / called / file).write_text(text)
    return directory


# Tables


def load(text: str) -> tuple[Zone | None, list[Problem]]:
    path = "zones/example.com.zone"
    files = INCLUDED | {path: text}

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, os.strerror(2))
        return files[path].encode()

    return master.load(path, name.parse("example.com.", name.ROOT), read)


def meaning(text: str) -> list[str]:
    """The records that the text has beyond those of the example zone."""
    example, _ = load(EXAMPLE)
    zone, problems = load(text)
    if example is None or zone is None or problems:
        raise ValueError(f"not without problems: {[*map(str, problems)]}")
    known = set(master.records(example))
    return [record for record in master.records(zone) if record not in known]


def messages(level: Level) -> Callable[[str], list[str]]:
    """The function that tells the problems of a text, which must all be of that level."""

    def tell(text: str) -> list[str]:
        problems = load(text)[1]
        if {problem.level for problem in problems} != {level}:
            raise ValueError(f"not just {level.value}s: {[*map(str, problems)]}")
        return [f"{problem.fact}; {problem.remedy}" for problem in problems]

    return tell


OUTCOMES = {"it means": meaning, "error": messages(Level.ERROR), "warning": messages(Level.WARNING)}


class Row(NamedTuple):
    """A line of a table of examples."""

    line: int     # in the document, from 0
    before: str   # what the zone file has before the lines
    outcome: str
    text: str


def rows(text: str) -> Iterator[Row]:
    header = None
    for line, row in enumerate(text.splitlines()):
        if found := HEADER.fullmatch(row):
            header = found
        elif not row.startswith("|"):
            header = None
        elif header is not None and not row.startswith("| ---"):
            yield Row(line, EXAMPLE if header[1] == "you write" else "", header[2], row)


def filled(row: Row) -> str:
    """The row with the truth on the right."""
    cells = ROW.fullmatch(row.text)
    if cells is None:
        raise ValueError(f"no row of two cells: {row.text}")
    lines = "".join(f"{line}\n" for line in SPAN.findall(cells[1]))
    told = OUTCOMES[row.outcome](row.before + lines)
    return f"| {cells[1]} | {'<br>'.join(f'`{text}`' for text in told)} |"


def in_any_order(text: str) -> list[str]:
    """The lines, with records that stand together sorted: where turns begin is drawn by lot."""
    lines: list[str] = []
    for is_record, some in groupby(text.splitlines(), lambda line: RECORD.fullmatch(line) is not None):
        together = list(some)
        lines += sorted(together) if is_record else together
    return lines


# The tests


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("readme"))


def title(value: object) -> str:
    match value:
        case Path():
            return str(value.relative_to(ROOT))
        case Row():
            return f"{value.line + 1}: {value.text}"
        case _:
            return str(value).partition("\n")[0]


@pytest.mark.parametrize(
    ("document", "block"),
    [(document, block) for document in DOCUMENTS for block in BLOCK.findall(document.read_text())],
    ids=title,
)
def test_a_console_block_shows_what_its_commands_print(document: Path, block: str, directory: Path) -> None:
    assert in_any_order(block) == in_any_order(session(block, directory))


@pytest.mark.parametrize("block", [
    "zones\n", "$ rm -r zones\n", "$ dnslb check zones | wc -l\n", "$ dnslb check\n$ dnslb lookup a..b\n",
    "$ dig www.example.com +short\n", "$ dig @127.0.0.1 -p 5300 www.example.com\n", "$ dnslb serve broken\n",
])  # fmt: skip
def test_a_block_that_cannot_be_run_or_checked_is_a_mistake(block: str, directory: Path) -> None:
    with pytest.raises(ValueError, match=r"command|dig|ended"):
        session(block, directory)


@pytest.mark.parametrize("row", [row for document in DOCUMENTS for row in rows(document.read_text())], ids=title)
def test_a_row_of_examples_is_true(row: Row) -> None:
    assert row.text == filled(row)


@pytest.mark.parametrize(
    ("document", "example"),
    [(document, example) for document in DOCUMENTS for example in YAML.findall(document.read_text())],
    ids=title,
)
def test_an_example_of_a_yaml_file_is_read_without_a_word(document: Path, example: str, tmp_path: Path) -> None:
    if not re.search("^(pools|update):", example, re.MULTILINE):
        assert settings.read(example.encode(), "dnslb.yaml")[1] == []
        return
    key = tmp_path / "fleet.key"
    key.touch(0o600)
    key.write_text(keys.text(TsigKey("fleet.", "hmac-sha256", bytes(32))))
    (tmp_path / "dnslb.yaml").write_text(f"keys: {{fleet: {key}, acme: {key}, dhcp: {key}}}\n")
    (tmp_path / "example.com.yaml").write_text(example)
    if "primary:" not in example:
        (tmp_path / "example.com.zone").write_text(f"{EXAMPLE}www A 192.0.2.11\nwww A 192.0.2.12\n")
    # What a primary has not given yet is told of, and no mistake.
    assert [problem for problem in load_directory(tmp_path)[1] if " yet, " not in problem.fact] == []


def test_every_block_and_table_is_tried() -> None:
    for document in DOCUMENTS:
        text = document.read_text()
        assert text.count("```console") == len(BLOCK.findall(text))
        assert text.count("```yaml") == len(YAML.findall(text))
        assert len(re.findall(r"^\| (?:you write|the whole file) \|", text, re.MULTILINE)) == len(HEADER.findall(text))


def test_the_reference_shows_the_zone_of_its_examples() -> None:
    text = REFERENCE.read_text()
    assert f"```\n{EXAMPLE}```\n" in text
    for path, content in INCLUDED.items():
        assert f"`{Path(path).name}`" in text
        assert f"`{content.strip()}`" in text


def test_the_reference_lists_all_record_types() -> None:
    section = REFERENCE.read_text().partition("\n## Record types\n")[2].partition("\n## ")[0]
    with_syntax, without = (block.split()[1:-1] for block in FENCED.findall(section))
    stored = {type_ for type_, number in rrtype.NUMBERS.items() if not rrtype.is_meta(number)}
    assert sorted(with_syntax) == sorted(map(rrtype.text, FORMATS))
    assert sorted(without) == sorted(stored - set(with_syntax))


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= MOST_LINES
    led_to = {(ROOT / file).resolve() for file, _ in LINK.findall(text)}
    assert {document.resolve() for document in DOCUMENTS[1:]} <= led_to


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_links_lead_somewhere(document: Path) -> None:
    for file, heading in LINK.findall(FENCED.sub("", document.read_text())):
        if file.startswith(("https://", "http://")):
            continue
        target = document.parent / file if file else document
        assert target.exists(), file
        if heading:
            assert heading in anchors(target.read_text()), heading


def anchors(text: str) -> set[str]:
    """What headings are called in links."""
    headings = HEADING.findall(FENCED.sub("", text))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# The sample zones


@pytest.fixture(scope="module")
def samples() -> dict[str, Zone]:
    """The sample zones, which load without a word."""
    zones = {}
    for apex, file in zone_files(SAMPLES).items():
        zone, problems = master.load(str(file), name.parse(f"{apex}.", name.ROOT), lambda path: Path(path).read_bytes())
        assert problems == []
        assert zone is not None
        zones[apex] = zone
    return zones


@pytest.mark.parametrize("apex", zone_files(SAMPLES))
@pytest.mark.parametrize(
    ("checker", "package", "options"),
    [
        ("named-checkzone", "bind9-utils", ["-i", "local", "{apex}", "{file}"]),
        ("nsd-checkzone", "nsd", ["{apex}", "{file}"]),
        ("kzonecheck", "knot-dnssecutils", ["-o", "{apex}", "{file}"]),
    ],
)
def test_the_sample_zones_load_elsewhere_without_a_word(
    checker: str, package: str, options: list[str], apex: str
) -> None:
    file = zone_files(SAMPLES)[apex]
    command = [program(checker, package), *(option.format(apex=apex, file=file) for option in options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("warning|error|notice", done.stdout + done.stderr, re.IGNORECASE)


def test_the_sample_zones_use_names_and_addresses_for_documentation_only(samples: dict[str, Zone]) -> None:
    seen = 0
    for zone in samples.values():
        for record in master.records(zone):
            for text in DOTTED.findall(record):
                assert is_for_documentation(text), record
                seen += 1
    assert seen > 100


def is_for_documentation(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        owner = name.fold(name.parse(text, name.ROOT))
        return any(name.is_at_or_below(owner, reserved) for reserved in DOCUMENTATION_NAMES)
    return any(address in network for network in DOCUMENTATION_NETWORKS)


def test_every_address_of_the_sample_network_has_a_name_with_that_address(samples: dict[str, Zone]) -> None:
    records = [record.split() for zone in samples.values() for record in master.records(zone)]
    pointers = {(owner.partition(".")[0], last) for owner, _, _, kind, *_, last in records if kind == "PTR"}
    addresses = {
        (last.removeprefix("192.0.2."), owner)
        for owner, _, _, kind, *_, last in records
        if kind == "A" and last.startswith("192.0.2.") and owner not in {"example.com.", "*.api.example.com."}
    }
    assert pointers == addresses


def rewrite(document: Path, directory: Path) -> None:
    """The document with the real outputs."""
    lines = document.read_text().splitlines(keepends=True)
    for row in rows(document.read_text()):
        lines[row.line] = f"{filled(row)}\n"
    document.write_text(BLOCK.sub(lambda block: session(block[0], directory), "".join(lines)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        furnish(Path(temporary))
        for document in DOCUMENTS:
            rewrite(document, Path(temporary))
