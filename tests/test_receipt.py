"""What comes in by AXFR and IXFR: the zone that it means, or exactly why it is refused."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.dns import master, name, rdata, rrtype
from dnslb.transfer.receipt import Broken, Current, Receipt, Record, line

APEX = name.parse("example.test.", name.ROOT)


def soa(serial: int) -> Record:
    return record(f"example.test. 60 SOA ns1 h {serial} 3600 900 1209600 60")


def record(text: str) -> Record:
    owner, ttl, kind, *words = text.split()
    number = rrtype.parse(kind) or 0
    return Record(name.parse(owner, APEX), number, int(ttl), rdata.parse(number, words, APEX))


def received(records: Iterable[Record], held: tuple[int, list[str]] | None = None) -> list[str]:
    """The lines of the new version; ``held``: serial and lines of the one that is there."""
    receipt = Receipt(APEX, None if held is None else held[0])
    lines = [written for one in records for written in receipt.take(one)]
    receipt.end_message()
    assert receipt.is_whole, "more must come"
    return list(receipt.applied(held[1])) if held and receipt.is_difference else lines


WWW, API = record("www 300 A 192.0.2.1"), record("api 300 A 192.0.2.2")
NS = record("example.test. 60 NS ns1")
HELD = (1, [line(each) for each in (soa(1), NS, WWW)])


@pytest.mark.parametrize(("records", "held", "why"), [
    ([WWW], None, "it begins with A, not with the SOA"),
    ([soa(2), NS, WWW, soa(3)], None, "it ends with another SOA than it began with"),
    ([soa(2), NS, soa(2), WWW], None, "it goes on after its end"),
    ([soa(2), record("www.example.org. 60 A 192.0.2.1")], None, "it sends www.example.org., which is outside the zone"),
    ([soa(2), record("xexample.test. 60 A 192.0.2.1")], None, "it sends xexample.test., which is outside the zone"),
    ([soa(2)._replace(owner=name.parse("example.org.", name.ROOT))], None, "it sends example.org., which is outside"),
    ([soa(2)._replace(owner=name.parse("www", APEX))], None, "it sends an SOA of www.example.test. that is none"),
    ([soa(2)._replace(rdata=b"\0\0")], None, "it sends an SOA of example.test. that is none"),
    ([soa(2), Record(APEX, rrtype.ANY, 60, b"")], None, "it sends a record of type ANY, which no zone has"),
    ([soa(3), soa(2), soa(3)], HELD, "it sends a difference to serial 2, which we do not have"),
    ([soa(3), soa(1), soa(2), API, soa(1)], HELD, "a difference to serial 2 is followed by one from 1"),
    ([soa(2), soa(1), API, soa(2), soa(2)], HELD, "it removes what we do not have: api.example.test. IN A 192.0.2.2"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_is_no_transfer_of_the_zone(
    records: list[Record], held: tuple[int, list[str]] | None, why: str
) -> None:
    with pytest.raises(Broken) as raised:
        received(records, held)
    assert str(raised.value).startswith(why)


@pytest.mark.parametrize("records", [[], [soa(2)], [soa(2), NS], [soa(2), soa(1)], [soa(2), soa(1), soa(2)]], ids=len)
def test_half_a_transfer_is_not_whole(records: list[Record]) -> None:
    receipt = Receipt(APEX, 1)
    for one in records:
        receipt.take(one)
    receipt.end_message()
    assert not receipt.is_whole


@pytest.mark.parametrize("serial", [1, 0, 1 + (1 << 31)])
def test_a_lone_soa_that_is_no_newer_says_that_nothing_is_to_come(serial: int) -> None:
    receipt = Receipt(APEX, 1)
    receipt.take(soa(serial % (1 << 32)))
    with pytest.raises(Current):
        receipt.end_message()


def test_who_answers_a_question_for_the_difference_may_send_the_whole_zone() -> None:
    assert received([soa(9), NS, API, soa(9)], HELD) == [line(each) for each in (soa(9), NS, API)]


_VERSIONS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from([60, 300]), st.sets(st.integers(1, 4)))),
    min_size=2, max_size=5,
)  # fmt: skip


def records_of(version: dict[str, tuple[int, set[int]]]) -> set[Record]:
    return {NS} | {record(f"{label} {ttl} A 192.0.2.{n}") for label, (ttl, ns) in version.items() for n in ns}


@given(_VERSIONS)
def test_differences_lead_where_the_whole_zone_does(versions: list[dict[str, tuple[int, set[int]]]]) -> None:
    sets = [records_of(version) for version in versions]
    last = len(sets)
    transfer = [soa(last)]
    for serial, (old, new) in enumerate(pairwise(sets), 1):
        transfer += [soa(serial), *(old - new), soa(serial + 1), *(new - old)]
    held = 1, [line(each) for each in (soa(1), *sets[0])]
    whole = received([soa(last), *sets[-1], soa(last)])
    assert sorted(received([*transfer, soa(last)], held)) == sorted(whole)


_LABELS = st.binary(min_size=1, max_size=63)
_SOME = st.lists(_LABELS, min_size=1, max_size=2)


@given(_SOME, st.integers(0, (1 << 31) - 1), _SOME)
def test_whatever_octets_names_and_texts_have_are_read_as_they_came(
    labels: list[bytes], ttl: int, texts: list[bytes]
) -> None:
    owner = b"".join(bytes((len(label),)) + label for label in labels).lower() + APEX
    text = Record(owner, rrtype.TXT, ttl, b"".join(bytes((len(each),)) + each for each in texts))
    unknown = Record(owner, 65280, ttl, texts[0])
    file = "".join(received([soa(1), NS, record("ns1 60 A 192.0.2.53"), text, unknown, soa(1)])).encode("latin-1")
    zone, problems = master.load("f", APEX, lambda _: file)
    assert zone is not None, problems
    assert {(rrset.rrtype, rrset.ttl, rrset.rdatas) for rrset in zone.nodes[owner]} == {
        (each.rrtype, each.ttl, (each.rdata,)) for each in (text, unknown)
    }
