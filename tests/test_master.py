"""Master files: what their entries mean, which messages mistakes give, and properties of any octets whatever."""

from __future__ import annotations

import os
import string
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zonefiles import ZONE_FILES

from dnslb.dns import master, name
from dnslb.dns.master.head import Head, Heads, parse_head
from dnslb.dns.master.lexer import read_entry
from dnslb.dns.master.lines import read_lines
from dnslb.dns.mistake import Mistaken
from dnslb.dns.zone import Node, RRset, Zone
from dnslb.text.problem import Problem, has_errors

APEX = name.parse("example.com.", name.ROOT)
HEAD = "$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n"
HEAD_RECORDS = [
    "example.com. 300 IN SOA ns1.example.com. h.example.com. 1 2 3 4 5",
    "example.com. 300 IN NS ns1.example.com.",
    "ns1.example.com. 300 IN A 192.0.2.1",
]


def load(files: dict[str, bytes], path: str = "zone") -> tuple[Zone | None, list[Problem]]:
    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, os.strerror(2))
        return files[path]

    return master.load(path, APEX, read)


def load_text(text: str, **included: str) -> tuple[Zone | None, list[Problem]]:
    return load({path: content.encode("latin-1") for path, content in {"zone": text, **included}.items()})


def records(zone: Zone | None) -> list[str]:
    return list(master.records(zone)) if zone is not None else []


def added(zone: Zone | None) -> list[str]:
    """The records that are not HEAD's, without the zone's name and the class."""
    lines = [line for line in records(zone) if line not in HEAD_RECORDS]
    return [line.replace(".example.com.", "").replace(" IN ", " ") for line in lines]


def messages(problems: list[Problem]) -> list[str]:
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Owner, TTL and class: any order, any of them left out.
        ("a 60 IN A 192.0.2.1", ["a 60 A 192.0.2.1"]),
        ("a IN 60 A 192.0.2.1", ["a 60 A 192.0.2.1"]),
        ("a A 192.0.2.1\n  AAAA ::1\n\tIN TXT b", ["a 300 A 192.0.2.1", 'a 300 TXT "b"', "a 300 AAAA ::1"]),
        ("a class1 1H A 192.0.2.1", ["a 3600 A 192.0.2.1"]),
        ("a.example.com. A 192.0.2.1", ["a 300 A 192.0.2.1"]),
        ("A.Example.COM. a 192.0.2.1", ["a 300 A 192.0.2.1"]),
        # What begins in column 1 is the owner, whatever it is called; what does not is none.
        ("a A 192.0.2.1\n a 192.0.2.2", ["a 300 A 192.0.2.1", "a 300 A 192.0.2.2"]),
        ("in in a 192.0.2.1\n in aaaa ::1", ["in 300 A 192.0.2.1", "in 300 AAAA ::1"]),
        ("3600 3600 a 192.0.2.1", ["3600 3600 A 192.0.2.1"]),
        ("ttl a 192.0.2.1", ["ttl 300 A 192.0.2.1"]),
        ("x TXT A\ny CNAME a", ['x 300 TXT "A"', "y 300 CNAME a"]),
        # TTLs.
        ("a 1w2d3h4m5s A 192.0.2.1", ["a 788645 A 192.0.2.1"]),
        ("$TTL 1h30m\na A 192.0.2.1\nb 5 A 192.0.2.1\nc A 192.0.2.1",
         ["a 5400 A 192.0.2.1", "b 5 A 192.0.2.1", "c 5400 A 192.0.2.1"]),
        # Directives.
        ("$ORIGIN sub\na A 192.0.2.1\n$ORIGIN deep\n@ A 192.0.2.1",
         ["a.sub 300 A 192.0.2.1", "deep.sub 300 A 192.0.2.1"]),
        ("$origin com.\nb.example CNAME x", ["b 300 CNAME x.com."]),
        ("a A 192.0.2.1\n$ORIGIN sub\n AAAA ::1\na A 192.0.2.2",
         ["a 300 A 192.0.2.1", "a 300 AAAA ::1", "a.sub 300 A 192.0.2.2"]),
        # Parentheses, comments, quotes, escapes.
        ("a A (192.0.2.1); c\n", ["a 300 A 192.0.2.1"]),
        ("a TXT ( b ; ( not this\n\n c\n ) d", ['a 300 TXT "b" "c" "d"']),
        ("a TXT ((b) (c))", ['a 300 TXT "b" "c"']),
        ('a TXT "b;c (d) e" f\\;g\\ h', ['a 300 TXT "b;c (d) e" "f;g h"']),
        ('a TXT "b\\"c" d"e"', ['a 300 TXT "b\\"c" "d" "e"']),
        ("a\\.b.c A 192.0.2.1\na\\046b.d A 192.0.2.1", ["a\\.b.c 300 A 192.0.2.1", "a\\.b.d 300 A 192.0.2.1"]),
        ("\\$a A 192.0.2.1\n\\@ A 192.0.2.1", ["\\$a 300 A 192.0.2.1", "\\@ 300 A 192.0.2.1"]),
        ('"a" A 192.0.2.1', ["a 300 A 192.0.2.1"]),
        ("a TXT \xe9 ; \x00\xa0", ['a 300 TXT "\\233"']),
        # RFC 3597.
        ("a TYPE1 \\# 4 c0000201", ["a 300 A 192.0.2.1"]),
        ("a CLASS1 TYPE65280 \\# 3 ab cdef", ["a 300 TYPE65280 \\# 3 ABCDEF"]),
        # Ends of lines and of files.
        ("a A 192.0.2.1\r\nb A 192.0.2.1\r\n", ["a 300 A 192.0.2.1", "b 300 A 192.0.2.1"]),
        ("\n\n  \t\n; c\na A 192.0.2.1", ["a 300 A 192.0.2.1"]),
        # $GENERATE: as named-compilezone, see test_checkers.
        ("$GENERATE 1-3/2 h${1,3} 60 IN A 192.0.2.$", ["h002 60 A 192.0.2.1", "h004 60 A 192.0.2.3"]),
        ('$GENERATE 9-10 h$ MX "$ m${0,0,x}"', ["h10 300 MX 10 ma", "h9 300 MX 9 m9"]),
        ("$GENERATE 26-26 ${0,4,N}r CNAME $$.\\$.${-27,1,x}", ["a.1.r 300 CNAME \\$.\\$.ffffffff"]),
        ("a A 192.0.2.1\n$GENERATE 1-1 h$ A 192.0.2.1\n AAAA ::1",
         ["a 300 A 192.0.2.1", "a 300 AAAA ::1", "h1 300 A 192.0.2.1"]),
    ],
)  # fmt: skip
def test_a_text_means_these_records(text: str, expected: list[str]) -> None:
    zone, problems = load_text(HEAD + text)
    assert not has_errors(problems), messages(problems)
    assert added(zone) == expected


def test_a_byte_order_mark_is_passed_over() -> None:
    zone, problems = load({"zone": b"\xef\xbb\xbf" + HEAD.encode()})
    assert records(zone) == HEAD_RECORDS
    assert problems == []


@pytest.mark.parametrize(
    ("text", "ttls", "warnings"),
    [
        ("@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 60 A 192.0.2.1", [5, 5, 60],
         ["zone:1:3: warning: no $TTL; the SOA's minimum is the default TTL; begin the file with $TTL 5"]),
        ("@ 9 SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 60 A 192.0.2.1\nns1 AAAA ::1", [9, 9, 60, 60], []),
        ("@ 9 SOA ns1 h 1 2 3 4 5\n$TTL 7\n@ NS ns1\nns1 60 A 192.0.2.1\nns1 AAAA ::1", [9, 7, 60, 7], []),
    ],
)  # fmt: skip
def test_an_omitted_ttl_comes_from_the_directive_or_the_last_record_or_the_soa(
    text: str, ttls: list[int], warnings: list[str]
) -> None:
    zone, problems = load_text(text)
    assert [int(line.split()[1]) for line in records(zone)] == ttls
    assert messages(problems) == warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The entry's head.
        ("a FOO 1", ["5:3: FOO is no TTL, class or type; write owner, TTL, class, type and data; or TYPEnnn"]),
        ("MX 10 mail", ["5:7: mail is no TTL, class or type; begin the line with a blank if MX is the type: "
                        "what begins in column 1 is the owner"]),
        ("a", ["5:2: the record ends before its type; write owner, TTL, class, type and data"]),
        ("a 5 IN 6 A 192.0.2.1", ["5:8: a second TTL, 6; remove one of the two"]),
        ("a IN IN A 192.0.2.1", ["5:6: a second class, IN; remove one of the two"]),
        ("a CH A 192.0.2.1", ["5:3: class CH, in a zone of class IN; write IN, or leave the class out"]),
        ("a 4294967296 A 192.0.2.1",
         ["5:3: the TTL 4294967296 does not fit; TTLs go up to 2147483647 seconds (RFC 2181 §8)"]),
        ("a IN 2147483648 A 192.0.2.1",
         ["5:6: warning: the TTL 2147483648 is above 2147483647, and means 0; write a lower one (RFC 2181 §8)"]),
        ("a ANY 1", ["5:3: ANY is for questions and never stored; remove the record (RFC 6895 §3.1)"]),
        (" $TTL 5", ["5:2: $TTL behind a blank is no directive; begin it in column 1"]),
        # Owners.
        ("a..b A 192.0.2.1", ["5:1: the name a..b has an empty label; remove the extra dot"]),
        ("x.org. A 192.0.2.1\n AAAA ::1",
         ["5:1: warning: x.org. is outside the zone example.com.; move it to its own zone; it is ignored here"]),
        ("a.. A 192.0.2.1\n A 192.0.2.2\n CNAME b", ["5:1: the name a.. has an empty label; remove the extra dot"]),
        # Rdata: the word, also in the middle of many lines.
        ("a A 192.0.2.256", ["5:5: 192.0.2.256 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"]),
        ("@ TXT ( a ; b\n  c )\nb SRV ( 1 ; x\n 2\n\t70000 a )",
         ["9:2: 70000 is no number from 0 to 65535; write decimal digits, in that range"]),
        # The lexer's.
        ("a TXT (b\n c\nd A 192.0.2.x",
         ["5:7: the ( is never closed; close it with a )",
          "7:5: 192.0.2.x is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"]),
        ("a TXT b)", ["5:8: a ) without its (; remove it"]),
        ('a TXT "b\nc A 192.0.2.1', ['5:7: the string is not closed on its line; close it with a "']),
        ('a TXT "b\nc" d', ['5:7: the string is not closed on its line; close it with a "']),
        ('a TXT "b\nc TXT "d', ['5:7: the string is not closed on its line; close it with a "',
                               '6:7: the string is not closed on its line; close it with a "']),
        ("a TXT b\x00c \x01", ["5:8: a control character, octet 0x00; remove it, or write \\000 if it is meant"]),
        ("a A 192.0.2.1\rb", ["5:14: a control character, octet 0x0d; remove it, or write \\013 if it is meant"]),
        ("a TXT b\\\n", ["5:8: a \\ with nothing behind it; remove it, or write \\\\ for the character"]),
        # Directives.
        ("$FOO", ["5:1: $FOO is no directive; $TTL, $ORIGIN, $INCLUDE and $GENERATE are; "
                  "write \\$ if an owner's name begins so"]),
        ("$TTL", ["5:5: $TTL needs more than this; write $TTL 1h"]),
        ("$TTL 1h 2h", ["5:9: 2h is one word too many for $TTL; write $TTL 1h"]),
        ("$TTL soon", ["5:6: soon is no TTL; write seconds, or units as in 1h30m"]),
        ("$ORIGIN a..", ["5:9: the name a.. has an empty label; remove the extra dot"]),
        ("$INCLUDE none", ["5:10: none cannot be read: No such file or directory; give a file that can"]),
        ("$INCLUDE zone", ["5:10: zone includes itself; remove the $INCLUDE that closes the loop"]),
        ("$INCLUDE \"\x01\"", ["5:10: this is no file name; write the name of a file"]),
        # $GENERATE: one message, however many records.
        ("$GENERATE 1-x h$ A 192.0.2.$",
         ["5:11: 1-x is no range; write $GENERATE start-stop[/step] owner type rdata"]),
        ("$GENERATE 2-1 h$ A 192.0.2.$",
         ["5:11: the range 2-1 holds no numbers; count up, by 1 or more, to at most 2147483647"]),
        ("$GENERATE 1-2 h${1,2,z} A 192.0.2.$",
         ["5:15: ${1,2,z} is no ${offset,width,base}; write ${0,3,d}, with a base of d, o, x, X, n or N"]),
        ("$GENERATE 1-2 h${1,999} A 192.0.2.$",
         ["5:15: ${1,999} is too large; use widths up to 255, offsets up to 2147483647"]),
        ("$GENERATE 255-299 h$ A 192.0.2.$",
         ["5:24: 192.0.2.256 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"]),
        ("$GENERATE 0-1000000 h$ A 192.0.2.1", ["5:11: more than 1000000 records from $GENERATE; generate fewer"]),
        ("$GENERATE 1-2 h A 192.0.2.1",
         ["5:17: warning: h.example.com. has the same A record twice; remove one; it is served once (RFC 2181 §5)"]),
        # All at once, in order.
        ("$TTL x\na A 1\nb FOO\nc MX 1 .. d",
         ["5:6: x is no TTL; write seconds, or units as in 1h30m",
          "6:5: 1 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1",
          "7:3: FOO is no TTL, class or type; write owner, TTL, class, type and data; or TYPEnnn",
          "8:8: the name .. has an empty label; remove the extra dot"]),
    ],
)  # fmt: skip
def test_a_mistake_gives_one_message_with_its_place(text: str, expected: list[str]) -> None:
    zone, problems = load_text(HEAD + text)
    assert messages(problems) == [f"zone:{message}" for message in expected]
    assert (zone is None) == has_errors(problems)


def test_a_record_without_an_owner_before_it_is_a_mistake() -> None:
    _, problems = load_text("$TTL 300\n SOA ns1 h 1 2 3 4 5\n")
    assert messages(problems) == [
        "zone:2:2: a record without an owner; begin the line with the owner, or with @",
    ]


def test_a_file_that_cannot_be_read_is_a_problem() -> None:
    zone, problems = load({}, "zones/x.zone")
    assert zone is None
    assert messages(problems) == [
        "zones/x.zone: cannot be read: No such file or directory; give a file that can",
    ]


def test_an_included_file_is_found_beside_its_includer_and_leaves_origin_and_owner_alone() -> None:
    zone, problems = load(
        {
            "zones/zone": (HEAD + "x TXT a\n$INCLUDE inc/one sub\n TXT d\ny A 192.0.2.1\n").encode(),
            "zones/inc/one": b" TXT b\nr A 192.0.2.1\n$INCLUDE ../two\n$ORIGIN other\n",
            "zones/two": b"s A 192.0.2.1",
        },
        "zones/zone",
    )
    assert problems == []
    assert added(zone) == [
        "r.sub 300 A 192.0.2.1", "s.sub 300 A 192.0.2.1",
        'x 300 TXT "a"', 'x 300 TXT "b"', 'x 300 TXT "d"', "y 300 A 192.0.2.1",
    ]  # fmt: skip


def test_a_message_names_the_included_file_and_messages_come_in_reading_order() -> None:
    _, problems = load_text(
        HEAD + "a A x\n$INCLUDE one\nb A y\n$INCLUDE one\nc A z\n@ MX 1 gone\n",
        one="; comment\n\nd ( \n A v )\n",
    )
    address = "is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1"
    assert messages(problems) == [
        f"zone:5:5: x {address}",
        f"one:4:4: v {address}",
        f"zone:7:5: y {address}",
        f"one:4:4: v {address}",
        f"zone:9:5: z {address}",
        "zone:10:8: warning: the MX of example.com. names gone.example.com., which has no A or AAAA; "
        "add one, or name another host",
    ]


def test_inclusions_are_bounded() -> None:
    chain = {f"f{n}": f"$INCLUDE f{n + 1}\n" for n in range(40)}
    _, problems = load_text(HEAD + "$INCLUDE f0\n", **chain)
    assert messages(problems) == [
        "f15:1:10: more than 16 files include one another; include from fewer levels"
    ]
    bomb = {f"f{n}": f"$INCLUDE f{n + 1}\n" * 9 for n in range(14)} | {"f14": ""}
    _, problems = load_text(HEAD + "$INCLUDE f0\n", **bomb)
    assert "more than 10000 inclusions" in str(problems[0])


def test_the_place_of_an_rrset_is_its_first_line_also_behind_and_in_an_include() -> None:
    text = "a A 192.0.2.1\n$INCLUDE one\nc (\n A 192.0.2.1\n)\nd A 192.0.2.1"
    zone, _ = load_text(HEAD + text, one="\nb A 192.0.2.1")
    assert zone is not None
    located = {label: zone.places.locate(node_of(zone, label)[0].place) for label in "abcd"}
    assert located == {"a": ("zone", 5, 1), "b": ("one", 2, 1), "c": ("zone", 7, 1), "d": ("zone", 10, 1)}


def test_a_message_cannot_speak_to_the_terminal() -> None:
    _, problems = load_text(HEAD + 'a TYPE65280 "\x1b[2J"\n"\x1b..b" A 192.0.2.1\nc \x9b31m\n')
    assert len(problems) == 3
    assert all(str(problem).isprintable() for problem in problems)


def test_so_many_mistakes_are_counted_and_not_listed() -> None:
    _, problems = load_text(HEAD + "a A x\n" * 1500)
    assert len(problems) == 1001
    assert str(problems[-1]) == "zone: 500 more errors are not listed; mend those above first"


def test_empty_non_terminals_and_cuts_are_noted() -> None:
    zone, _ = load_text(HEAD + "a.b.c A 192.0.2.1\nd NS ns1\ne DNAME example.org.\n")
    assert zone is not None
    assert zone.nodes[name.parse("b.c", APEX)] == ()
    assert zone.nodes[name.parse("c", APEX)] == ()
    assert zone.cuts == {name.parse("d", APEX), name.parse("e", APEX)}
    zone, _ = load_text("$TTL 1\n@ SOA a.org. b. 1 2 3 4 5\n@ NS a.org.\n@ DNAME b.org.\n")
    assert zone is not None
    assert zone.cuts == {APEX}


def test_large_rrsets_and_nodes_of_many_types_load_in_linear_time() -> None:
    addresses = "".join(f"a A 10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(20_000))
    types = "".join(f"b TYPE{n} \\# 1 {n & 255:02x}\n" for n in range(1000, 11_000))
    hosts = "".join(f"c NS h{n}.example.net.\n" for n in range(10_000))
    start = time.process_time()
    zone, problems = load_text(HEAD + addresses + types + hosts)
    assert time.process_time() - start < 4  # it takes half a second; quadratic growth would take minutes
    assert problems == []
    assert zone is not None
    assert len(node_of(zone, "a")[0].rdatas) == 20_000
    assert len(node_of(zone, "b")) == 10_000
    assert len(node_of(zone, "c")[0].rdatas) == 10_000


# Properties

_FRAGMENTS = st.sampled_from([
    " ", "\t", "\n", "\r\n", "\r", ";", "(", ")", '"', "\\", "\\032", "\\\"", "@", ".", "a", "A", "IN", "CH",
    "300", "1h", "192.0.2.1", "MX", "10", "TXT", "CNAME", "NS", "SOA", "$TTL", "$ORIGIN", "$INCLUDE", "$GENERATE",
    "1-3", "h$", "${1,2,d}", "inc", "\x00", "\x0b", "\x85", "\xa0", "\xe9", "\x7f", "\ufeff".encode().decode("latin-1"),
    "\na A 192.0.2.1\n", "\nb TXT ", "\n$INCLUDE inc\n", "\n IN A ", "TYPE65280 \\# 1 ab", "*", "b.c",
])  # fmt: skip
_TEXTS = st.lists(_FRAGMENTS, max_size=40).map("".join)
_SOUND = st.text(st.sampled_from(string.ascii_letters + string.digits + '  \n\t.;()"\\\xa0\x85\r'), max_size=60)


def exact_lines(octets: bytes) -> list[tuple[int, list[str], bool]]:
    """The entries by the exact lexer alone; the first bad one is the last."""
    lines: list[tuple[int, list[str], bool]] = []
    at, number = 0, 1
    while at < len(octets):
        entry = read_entry(octets, at, number)
        if entry.bad is not None:
            lines.append((number, [], entry.is_indented))
            break
        if entry.words:
            lines.append((number, [word.text for word in entry.words], entry.is_indented))
        at, number = entry.end, number + entry.lines
    return lines


def fast_lines(octets: bytes) -> list[tuple[int, list[str], bool]]:
    lines: list[tuple[int, list[str], bool]] = []
    for number, words, is_indented, bad in read_lines(octets):
        lines.append((number, [] if bad else words, is_indented))
        if bad:
            break
    return lines


@given(st.one_of(_TEXTS, _SOUND))
@example('a "b" c ; d\n e\\ f ; (\n')
@example("a\x85b\xa0c\n")
@example("a (\n\n b ) c\nd")
def test_the_fast_routes_and_the_exact_lexer_give_the_same_words(text: str) -> None:
    octets = text.encode("latin-1")
    assert fast_lines(octets) == exact_lines(octets)


_HEAD_PARTS = ["www", "300", "1h", "IN", "in", "CH", "A", "a", "MX", "TYPE1", "ANY", "10"]
_HEAD_WORDS = st.lists(st.sampled_from(_HEAD_PARTS), max_size=6)


@given(st.lists(_HEAD_WORDS, max_size=10), st.integers(0, 1))
def test_a_head_that_was_met_before_is_the_head_that_is_parsed(entries: list[list[str]], start: int) -> None:
    heads = Heads(start)
    for words in entries:
        try:
            expected: Head | str = parse_head(words, start)
        except Mistaken as error:
            expected = str(error)
        for _ in range(2):
            try:
                found: Head | str = heads.parse(words)
            except Mistaken as error:
                found = str(error)
            assert found == expected


@given(_TEXTS)
def test_every_word_stands_where_the_lexer_says(text: str) -> None:
    rows = text.encode("latin-1").split(b"\n")
    for word in read_entry(text.encode("latin-1")).words:
        row = rows[word.line - 1].decode("latin-1")
        assert row[word.column - 1 :].startswith(word.text)


@given(_TEXTS, _TEXTS)
def test_any_text_gives_a_zone_or_an_error_and_never_an_exception(text: str, inner: str) -> None:
    check_load({"zone": (HEAD + text).encode("latin-1"), "inc": inner.encode("latin-1")})


@given(st.binary(max_size=300))
def test_any_octets_give_a_zone_or_an_error_and_never_an_exception(octets: bytes) -> None:
    check_load({"zone": octets})
    check_load({"zone": HEAD.encode() + octets})


def check_load(files: dict[str, bytes]) -> None:
    zone, problems = load(files)
    assert (zone is None) == has_errors(problems)
    for problem in problems:
        if not problem.line:
            continue
        rows = files[problem.file].removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert 1 <= problem.line <= len(rows)
        assert 1 <= problem.column <= len(rows[problem.line - 1]) + 1
    if zone is not None:
        check_round_trip(zone)


def check_round_trip(zone: Zone) -> None:
    again, problems = load({"zone": "\n".join(master.records(zone)).encode("latin-1")})
    assert again is not None, messages(problems)
    assert again.cuts == zone.cuts
    assert without_places(again) == without_places(zone)


@pytest.mark.parametrize("title", ZONE_FILES)
def test_a_printed_zone_reads_back_the_same(title: str) -> None:
    zone, _ = load_text(ZONE_FILES[title], included="r A 192.0.2.7\n", with_origin="$ORIGIN q\nq A 192.0.2.7\n")
    if zone is not None:
        check_round_trip(zone)


@pytest.mark.parametrize(
    "line", ['"', "(", ")", "\\", "$INCLUDE zone", "$GENERATE 1-2 a A x", "a", '"\\', "a (", "\x00"]
)
def test_ten_thousand_bad_lines_are_refused_soon(line: str) -> None:
    start = time.process_time()
    zone, problems = load_text(f"{line}\n" * 10_000)
    assert time.process_time() - start < 2
    assert zone is None
    assert len(problems) <= 1002


def without_places(zone: Zone) -> dict[bytes, Node]:
    return {owner: tuple(rrset._replace(place=0) for rrset in node) for owner, node in zone.nodes.items()}


def node_of(zone: Zone, label: str) -> tuple[RRset, ...]:
    return zone.nodes[name.parse(label, APEX)]
