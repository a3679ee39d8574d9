"""Updates by RFC 2136, without a server: prerequisites, changes, and how they lie over a file that is edited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcript import wire, zone

from dnslb.config.grants import Grant
from dnslb.dns import master, name, overlay, rdata, rrtype, update
from dnslb.dns.overlay import Overlay
from dnslb.dns.update import Record, Refused
from dnslb.dns.zone import Zone, find

FILE = """\
$TTL 300
@      SOA    ns1 hostmaster 7 3600 900 1209600 60
       NS     ns1
       TXT    "v=spf1 -all"
ns1    A      192.0.2.53
www    A      192.0.2.1
       A      192.0.2.2
alias  CNAME  www
a.b    TXT    deep
"""
APEX = wire("example.com.")
ANY, NONE = rrtype.ANY_CLASS, rrtype.NONE_CLASS


def record(text: str) -> Record:
    """``www 60 A 192.0.2.9``, ``www ANY A``, ``www NONE A 192.0.2.1``."""
    owner, what, kind, *words = text.split()
    number = rrtype.ANY if kind == "ANY" else rrtype.parse(kind)
    assert number is not None
    octets = rdata.parse(number, words, APEX) if words else b""
    rrclass = {"ANY": ANY, "NONE": NONE}.get(what, rrtype.IN)
    return Record(name.fold(name.parse(owner, APEX)), number, rrclass, int(what) if what.isdigit() else 0, octets)


def given_zone(text: str = FILE) -> Zone:
    return zone("example.com.", text)


def changed(before: Overlay, written: Zone, *texts: str) -> Overlay:
    """The overlay after updates, as the server makes it."""
    records = [record(text) for text in texts]
    update.check_updates(APEX, records)
    found = update.changes(APEX, lambda owner: before.node(written, owner), records)
    differences = {
        (owner, kind): overlay.difference(find(written.nodes.get(owner, ()), kind), rrset)
        for (owner, kind), rrset in found.items()
    }
    return before.amended(differences) if found else before


def lines(served: Zone) -> list[str]:
    return list(master.records(served))


def served(laid: Overlay, written: Zone) -> list[str]:
    return lines(overlay.laid_over(written, laid)[0])


# §3.2: prerequisites


@pytest.mark.parametrize(("text", "rcode"), [
    ("www ANY ANY", None), ("nope ANY ANY", "NXDOMAIN"), ("b ANY ANY", "NXDOMAIN"),  # nothing but names below it
    ("www ANY A", None), ("www ANY TXT", "NXRRSET"),
    ("nope NONE ANY", None), ("www NONE ANY", "YXDOMAIN"),
    ("www NONE TXT", None), ("www NONE A", "YXRRSET"),
    ("@ 0 TXT v=spf1", "NXRRSET"), ("a.b 0 TXT deep", None), ("a.b 0 TXT shallow", "NXRRSET"),
    ("www 0 A 192.0.2.1", "NXRRSET"),  # one of two
    ("alias 0 CNAME WWW", None),       # names compare without case
    ("www 60 A 192.0.2.1", "FORMERR"), ("example.org. ANY ANY", "NOTZONE"), ("www NONE A 192.0.2.1", "FORMERR"),
])  # fmt: skip
def test_what_has_to_be_so(text: str, rcode: str | None) -> None:
    written = given_zone()
    if rcode is None:
        update.check_prerequisites(APEX, lambda owner: Overlay().node(written, owner), [record(text)])
        return
    with pytest.raises(Refused) as refused:
        update.check_prerequisites(APEX, lambda owner: Overlay().node(written, owner), [record(text)])
    assert rrtype.RCODES[refused.value.rcode] == rcode


def test_a_whole_rrset_has_to_be_so() -> None:
    written = given_zone()
    both = [record("www 0 A 192.0.2.2"), record("www 0 A 192.0.2.1")]
    update.check_prerequisites(APEX, lambda owner: Overlay().node(written, owner), both)


# §3.4.1


@pytest.mark.parametrize(("one", "rcode"), [
    (record("example.org. 60 A 192.0.2.1"), "NOTZONE"),
    (Record(wire("www.example.com."), rrtype.ANY, rrtype.IN, 60, b""), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.AXFR, ANY, 0, b""), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.ANY, NONE, 0, b""), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.A, ANY, 1, b""), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.A, ANY, 0, b"\1\2\3\4"), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.A, 3, 0, b"\1\2\3\4"), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.A, rrtype.IN, 60, b"\1\2\3"), "FORMERR"),
    (Record(wire("www.example.com."), rrtype.A, rrtype.IN, 1 << 31, b"\1\2\3\4"), "FORMERR"),
])  # fmt: skip
def test_what_is_no_update(one: Record, rcode: str) -> None:
    with pytest.raises(Refused) as refused:
        update.check_updates(APEX, [one])
    assert rrtype.RCODES[refused.value.rcode] == rcode


# §3.4.2


@pytest.mark.parametrize(("texts", "gone", "come"), [
    (["_acme-challenge 60 TXT token"], [], ['_acme-challenge.example.com. 60 IN TXT "token"']),
    (["x.y.z 60 A 192.0.2.9"], [], ["x.y.z.example.com. 60 IN A 192.0.2.9"]),
    (["www NONE A 192.0.2.1"], ["www.example.com. 300 IN A 192.0.2.1"], []),
    (["www ANY A"], ["www.example.com. 300 IN A 192.0.2.1", "www.example.com. 300 IN A 192.0.2.2"], []),
    (["a.b ANY ANY"], ['a.b.example.com. 300 IN TXT "deep"'], []),
    (["@ ANY ANY"], ['example.com. 300 IN TXT "v=spf1 -all"'], []),  # SOA and NS stay
    (["@ ANY NS", "@ ANY SOA", "@ NONE NS ns1"], [], []),              # §3.4.2.3, §3.4.2.4: passed over
    (["@ 300 NS ns2", "@ NONE NS ns1"], ["example.com. 300 IN NS ns1.example.com."],
     ["example.com. 300 IN NS ns2.example.com."]),
    (["alias 60 A 192.0.2.9"], [], []),
    (["www 60 CNAME ns1"], [], []),
    (["alias 60 CNAME ns1"], ["alias.example.com. 300 IN CNAME www.example.com."],
     ["alias.example.com. 60 IN CNAME ns1.example.com."]),
    (["a.b 60 TXT deep"], ['a.b.example.com. 300 IN TXT "deep"'], ['a.b.example.com. 60 IN TXT "deep"']),
    (["new 60 A 192.0.2.9", "new ANY ANY"], [], []),
    (["nope NONE A 192.0.2.9", "nope ANY ANY"], [], []),
])  # fmt: skip
def test_what_updates_make_of_a_zone(texts: list[str], gone: list[str], come: list[str]) -> None:
    written = given_zone()
    laid = changed(Overlay(), written, *texts)
    before, after = lines(written), served(laid, written)
    if gone or come:
        assert laid.raised == 1
        before[0] = before[0].replace(" 7 ", " 8 ")
    assert sorted(set(before) - set(after)) == sorted(gone)
    assert sorted(set(after) - set(before)) == sorted(come)


def test_a_name_without_records_is_there_only_above_others() -> None:
    written = given_zone()
    for texts, there, missing in (
        (["x.y 60 A 192.0.2.9"], ["x.y", "y"], []),
        (["a.b ANY ANY"], [], ["a.b", "b"]),
        (["a.b ANY ANY", "c.b 60 TXT x"], ["c.b", "b"], ["a.b"]),
        (["www ANY ANY"], [], ["www"]),
    ):
        nodes = overlay.laid_over(written, changed(Overlay(), written, *texts))[0].nodes
        assert all(wire(f"{each}.example.com.") in nodes for each in there)
        assert not any(wire(f"{each}.example.com.") in nodes for each in missing)


def test_a_delegation_that_comes_or_goes_cuts_the_zone() -> None:
    written = given_zone(FILE + "old NS ns1\n")
    laid = changed(Overlay(), written, "new 60 NS ns1", "old ANY NS")
    assert overlay.laid_over(written, laid)[0].cuts == {wire("new.example.com.")}


# The file is edited below


def test_what_was_added_stays_and_what_is_written_anew_joins_it() -> None:
    written = given_zone()
    laid = changed(Overlay(), written, "www 60 A 192.0.2.9", "www NONE A 192.0.2.1", "b 60 TXT x")
    edited = given_zone(FILE.replace(" 7 ", " 9 ") + "www A 192.0.2.7\n")
    found = served(laid, edited)
    assert [line for line in found if " A " in line and "www" in line] == [
        f"www.example.com. 60 IN A 192.0.2.{number}" for number in (2, 7, 9)
    ]
    assert " 10 3600 " in found[0], "one above the file's"


def test_where_file_and_overlay_do_not_go_together_the_file_counts() -> None:
    written = given_zone()
    laid = changed(Overlay(), written, "new 60 TXT x", "other 60 TXT y")
    edited = given_zone(FILE + "new CNAME www\n")
    made, refused = overlay.laid_over(edited, laid)
    assert refused == [wire("new.example.com.")]
    assert "new.example.com. 300 IN CNAME www.example.com." in lines(made)
    assert laid.node(edited, wire("new.example.com.")) == edited.nodes[wire("new.example.com.")]


def test_the_apex_keeps_its_nameservers_whatever_is_edited() -> None:
    written = given_zone(FILE + "@ NS ns2\n")
    laid = changed(Overlay(), written, "@ NONE NS ns1")
    assert " ".join(served(laid, given_zone())).count(" NS ns1") == 1


# Against a model: a dictionary of sets, by the letter of the RFC

OWNERS = ("@", "www", "alias", "new", "a.b")
UPDATES = st.one_of(
    st.builds("{} {} A 192.0.2.{}".format, st.sampled_from(OWNERS), st.sampled_from((60, 90)), st.integers(1, 3)),
    st.builds("{} 60 TXT t{}".format, st.sampled_from(OWNERS), st.integers(1, 2)),
    st.builds("{} 60 CNAME c{}".format, st.sampled_from(OWNERS), st.integers(1, 2)),
    st.builds("@ 60 NS ns{}".format, st.integers(1, 2)),
    st.builds("{} ANY {}".format, st.sampled_from(OWNERS), st.sampled_from(("ANY", "A", "TXT", "CNAME", "NS", "SOA"))),
    st.builds("{} NONE A 192.0.2.{}".format, st.sampled_from(OWNERS), st.integers(1, 3)),
    st.builds("@ NONE NS ns{}".format, st.integers(1, 2)),
)


def modelled(model: dict[tuple[str, str], set[str]], text: str) -> None:
    owner, what, kind, *words = text.split()
    here = {of for of, rdatas in model.items() if of[0] == owner and rdatas}
    if what.isdigit():
        alone = kind == "CNAME" and any(of[1] != "CNAME" for of in here)
        if alone or (kind != "CNAME" and (owner, "CNAME") in here):
            return
        old = set() if kind == "CNAME" else model.get((owner, kind), set())
        model[owner, kind] = old | {" ".join(words)}
    elif what == "ANY":
        for of in here:
            if kind in ("ANY", of[1]) and not (owner == "@" and of[1] in ("NS", "SOA")):
                model[of] = set()
    elif not (owner == "@" and kind == "NS" and model.get(("@", "NS")) == {" ".join(words)}):
        model.get((owner, kind), set()).discard(" ".join(words))


@given(st.lists(st.lists(UPDATES, min_size=1, max_size=4), max_size=8))
def test_sequences_of_updates_are_as_the_rfc_says(messages: list[list[str]]) -> None:
    written, laid = given_zone(), Overlay()
    model: dict[tuple[str, str], set[str]] = {}
    for text in ("@ 0 SOA soa", "@ 0 NS ns1", "@ 0 TXT spf", "ns1 0 A 192.0.2.53", "www 0 A 192.0.2.1",
                 "www 0 A 192.0.2.2", "alias 0 CNAME www", "a.b 0 TXT deep"):  # fmt: skip
        modelled(model, text)
    for texts in messages:
        laid = changed(laid, written, *texts)
        for text in texts:
            modelled(model, text)
        made, refused = overlay.laid_over(written, laid)
        assert not refused
        found = {
            (shown(owner), rrtype.text(rrset.rrtype)): len(rrset.rdatas)
            for owner, node in made.nodes.items() for rrset in node
        }  # fmt: skip
        assert found == {of: len(rdatas) for of, rdatas in model.items() if rdatas}
        assert made.serial == 7 + laid.raised
        again = zone("example.com.", "\n".join(lines(made)))
        assert placeless(made) == placeless(again), "as if it were written so"
        assert made.cuts == again.cuts


def placeless(made: Zone) -> dict[bytes, list[object]]:
    return {owner: [rrset[:3] for rrset in node] for owner, node in made.nodes.items()}


def shown(owner: bytes) -> str:
    return "@" if owner == APEX else name.text(owner).removesuffix(".example.com.")


# Who may


@pytest.mark.parametrize(("pattern", "owner", "may"), [
    ("_acme-challenge.*", "_acme-challenge.example.com.", True),
    ("_acme-challenge.*", "_acme-challenge.www.example.com.", True),
    ("_acme-challenge.*", "x._acme-challenge.example.com.", False),
    ("_acme-challenge", "_acme-challenge.www.example.com.", False),
    ("*.lan", "host.lan.example.com.", True),
    ("*.lan", "lan.example.com.", False),
    ("*.com", "www.example.com.", False),
    ("@", "example.com.", True),
    ("*", "example.com.", True),
    ("www.example.com.", "www.example.com.", True),
])  # fmt: skip
def test_a_key_may_change_the_names_and_types_of_its_grant(pattern: str, owner: str, may: bool) -> None:
    grant = Grant((pattern,), frozenset({rrtype.TXT}))
    assert grant.allows(APEX, wire(owner), rrtype.TXT) is may
    assert not grant.allows(APEX, wire(owner), rrtype.A)
    assert not Grant(("*",), None).allows(APEX, wire(owner), rrtype.SOA)
    assert Grant(("*",), None).allows(APEX, wire(owner), rrtype.A)
