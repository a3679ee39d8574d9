"""YAML with places: every mistake at its line and column, and no text that raises."""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.text import document, yaml_tree
from dnslb.text.document import Document

pytestmark = pytest.mark.usefixtures("yaml_parser")  # all of it, with either parser

KEYS = ("interval", "rise", "fall")
TOKEN = "while scanning for the next token"
REMEDY = "check brackets, quotes and indentation (by spaces, not tabs)"


def said(parsed: Document) -> list[str]:
    return [str(problem) for problem in parsed.problems]


@pytest.mark.parametrize(("octets", "problem"), [
    # No YAML.
    (b"a: [1", f"f:1:6: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'; {REMEDY}"),
    (b"a:\n\t- b", f"f:2:1: {TOKEN}, found character '\\t' that cannot start any token; {REMEDY}"),
    (b"a: @b", f"f:1:4: {TOKEN}, found character '@' that cannot start any token; {REMEDY}"),
    (b"a: b: c", f"f:1:5: mapping values are not allowed here; {REMEDY}"),
    (b"a: 'b", f"f:1:6: while scanning a quoted scalar, found unexpected end of stream; {REMEDY}"),
    (b"a: [::1]:53", f"f:1:5: while parsing a flow node, expected the node content, but found ':'; {REMEDY}"),
    (b"a: *b", f"f:1:4: found undefined alias 'b'; {REMEDY}"),
    (b"a: 1\n---\nb: 2", f"f:2:1: expected a single document in the stream, but found another document; {REMEDY}"),
    (b"a: 1\n b: 2", f"f:2:3: mapping values are not allowed here; {REMEDY}"),
    (b"%YAML 9.0\n---\na: 1", f"f:1:1: found incompatible YAML document (version 1.* is required); {REMEDY}"),
    # No text.
    (b"a: \xff", "f:1:4: octet 0xff is no UTF-8; write UTF-8 text"),
    (b"a: 1\nb: 2\nc: caf\xe9\n", "f:3:7: octet 0xe9 is no UTF-8; write UTF-8 text"),
    ("a: é\nb: ".encode() + b"\xff", "f:2:4: octet 0xff is no UTF-8; write UTF-8 text"),
    ("a: 1\n".encode("utf-16"), "f:1:1: octet 0xff is no UTF-8; write UTF-8 text"),
    (b"\xef\xbb\xbfa: \xff", "f:1:4: octet 0xff is no UTF-8; write UTF-8 text"),
    (b"a: 1\nb: \0", "f:2:4: character U+0000 is not allowed; remove it"),
    ("é: \a".encode(), "f:1:4: character U+0007 is not allowed; remove it"),
    # Too much.
    (b"[" * 20_000, "f: values are nested too deeply; nest them less"),
    (b"- " * 20_000, "f: values are nested too deeply; nest them less"),
    (b"{a: " * 5_000 + b"}" * 5_000, "f: values are nested too deeply; nest them less"),
])  # fmt: skip
def test_what_is_no_yaml_is_one_problem_in_its_place(octets: bytes, problem: str) -> None:
    assert said(document.parse(octets, "f")) == [problem]


@pytest.mark.parametrize(("text", "problems"), [
    ("rise: 2\nfall: 3", []),
    ("{}", []),
    ("- rise", ["f:1:1: a probe is no mapping; write keys and values: fall, interval, rise"]),
    ("rise", ["f:1:1: a probe is no mapping; write keys and values: fall, interval, rise"]),
    ("rise: 2\nrise: 3", ["f:2:1: rise is given twice; remove one of the two"]),
    ("rose: 2", ["f:1:1: a probe has no key rose; did you mean rise?"]),
    ("rise: 2\n  \nintervall: 1", ["f:3:1: a probe has no key intervall; did you mean interval?"]),
    ("xyz: 2", ["f:1:1: a probe has no key xyz; known are: fall, interval, rise"]),
    ("? [a]\n: 1", ["f:1:3: a probe has no key (a list or mapping); known are: fall, interval, rise"]),
    ("<<: {rise: 1}", ["f:1:1: a probe has no key <<; known are: fall, interval, rise"]),
    ("Rise: 2\nFALL: 1", [
        "f:1:1: a probe has no key Rise; did you mean rise?",
        "f:2:1: a probe has no key FALL; known are: fall, interval, rise",
    ]),
])  # fmt: skip
def test_a_mapping_has_known_keys_once(text: str, problems: list[str]) -> None:
    parsed = document.parse(text.encode(), "f")
    assert parsed.root is not None
    parsed.mapping(parsed.root, KEYS, "a probe")
    assert said(parsed) == problems


@pytest.mark.parametrize(("text", "value"), [
    ("2", 2), ("'2'", 2), ("007", 7), ("1", 1), ("64", 64),
    ("0", "0 is no number from 1 to 64"),
    ("65", "65 is no number from 1 to 64"),
    ("-1", "-1 is no number from 1 to 64"),
    ("2.0", "2.0 is no number from 1 to 64"),
    ("0x2", "0x2 is no number from 1 to 64"),
    ("1_0", "1_0 is no number from 1 to 64"),
    ("two", "two is no number from 1 to 64"),
    ("٣", "٣ is no number from 1 to 64"),      # a digit to str.isdigit
    ("²", "² is no number from 1 to 64"),
    ("9" * 5000, f"{'9' * 500} … {'9' * 474} is no number from 1 to 64"),  # int() refuses so many digits
    ("[2]", "a word is missing"),
    ("''", "a word is missing"),
])  # fmt: skip
def test_a_number_is_whole_and_in_range(text: str, value: int | str) -> None:
    parsed = document.parse(text.encode(), "f")
    assert parsed.root is not None
    number = parsed.number(parsed.root, 1, 64)
    if isinstance(value, int):
        assert (number, said(parsed)) == (value, [])
    else:
        assert number is None
        assert said(parsed)[0].startswith(f"f:1:1: {value}; ")


@pytest.mark.parametrize(("text", "value"), [
    ("500ms", 0.5), ("5s", 5.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("100ms", 0.1),
    ("5", "5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("5 s", "5 s is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("-5s", "-5s is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("5S", "5S is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("1h30m", "1h30m is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("0s", "0s is out of range; write 0.1s to 3600s"),
    ("99ms", "99ms is out of range; write 0.1s to 3600s"),
    ("61m", "61m is out of range; write 0.1s to 3600s"),
    (f"{'9' * 400}s", f"{'9' * 400}s is out of range; write 0.1s to 3600s"),    # infinity, as a float
    ("[5s]", "a word is missing; write one value here"),
])  # fmt: skip
def test_a_duration_has_a_unit_and_is_in_range(text: str, value: float | str) -> None:
    parsed = document.parse(text.encode(), "f")
    assert parsed.root is not None
    seconds = parsed.duration(parsed.root, 0.1, 3600.0)
    if isinstance(value, float):
        assert (seconds, said(parsed)) == (value, [])
    else:
        assert (seconds, said(parsed)) == (None, [f"f:1:1: {value}"])


@pytest.mark.parametrize(("text", "words", "problems"), [
    ("a", ["a"], []),
    ("[a, b]", ["a", "b"], []),
    ("- a\n- b", ["a", "b"], []),
    ("[]", [], []),
    ("[a, [b], '', c]", ["a", "c"], [
        "f:1:5: a word is missing; write one value here", "f:1:10: a word is missing; write one value here",
    ]),
    ("{a: b}", [], ["f:1:1: a word is missing; write one value here"]),
    ("[&x a, *x]", ["a", "a"], []),
])  # fmt: skip
def test_one_word_stands_for_a_list_of_it(text: str, words: list[str], problems: list[str]) -> None:
    parsed = document.parse(text.encode(), "f")
    assert parsed.root is not None
    assert [word for word, _ in parsed.texts(parsed.root)] == words
    assert said(parsed) == problems


@given(st.binary() | st.text(alphabet="a:-[]{}&*!|>'\"#%@`?,<\t\n 1.é\0", max_size=60).map(str.encode))
def test_any_octets_are_a_document_or_one_problem_in_one_line(octets: bytes) -> None:
    parsed = document.parse(octets, "f")
    assert len(parsed.problems) <= (parsed.root is None)
    for problem in parsed.problems:
        assert str(problem).startswith("f:")
        assert len(str(problem).splitlines()) == 1


TOKENS = (
    *"abc:-[]{}&*!|>'\"#%@`?,<\t\n .é~\r\ufeff\u2028\x85", "\n  ", "\n    ", "- ", ": ", ",  ", "\n- ", "\n? ",
    "{a: ", "[a, ", "null", "&x ", "*x", "!!str ", "!!null ", "! ", " # c\n", "---\n", "...\n", "\r\n", "|\n  ",
    ">-\n  ", "''", '"b"', "http://x", "<<: ",
)  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS), max_size=20).map("".join))
def test_both_parsers_read_the_same_and_find_the_same_mistakes(text: str) -> None:
    def read() -> tuple[object, ...]:
        parsed = document.parse(text.encode(), "f")
        return parsed.root, parsed.problems

    found = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_tree, "_LIBYAML", None)
        assert read() == found


def test_what_is_slow_to_tell_from_a_mistake_is_read_quickly() -> None:
    for line in ("# a:", "# ---", "a: # b:", ": #" * 1000, "#:" * 1000):
        text = f"{line}\n" * (100_000 // len(line))
        began = perf_counter()
        yaml_tree.is_read_differently(text)
        assert perf_counter() - began < 1


MANY = "more than 1000000 values, each alias counted as what it stands for"
LAUGHS = "a: &a [x]\n" + "".join(
    f"{one}: &{one} [{', '.join(10 * [f'*{before}'])}]\n" for before, one in pairwise("abcdefgh")
)


@pytest.mark.parametrize(("text", "fact"), [
    (LAUGHS, MANY),
    ("&x [a, *x]", "values are nested too deeply"),
    ("&x {a: *x}", "values are nested too deeply"),
    ("[" * 100_000, "values are nested too deeply"),
    ("a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}]\n" for n in range(5000)), MANY),
])  # fmt: skip
def test_what_grows_when_it_is_read_is_refused(text: str, fact: str) -> None:
    parsed = document.parse(text.encode(), "f")
    assert parsed.root is None
    assert [problem.fact for problem in parsed.problems] == [fact]


def test_an_alias_in_ten_thousand_places_is_none_too_many() -> None:
    text = "a: &a {http: /, port: 80, expect: [200, 201]}\n" + "".join(f"p{n}: {{probe: *a}}\n" for n in range(10_000))
    assert document.parse(text.encode(), "f").root is not None
