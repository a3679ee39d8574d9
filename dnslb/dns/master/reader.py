"""Reads a master file and those that it includes: directives and records (RFC 1035 §5.1, RFC 2308 §4).

Pure: ``inclusions`` brings the octets of a file, ``builder`` takes the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from dnslb.dns import name, rdata
from dnslb.dns.master import generate
from dnslb.dns.master.builder import Builder
from dnslb.dns.master.head import Head, Heads
from dnslb.dns.master.inclusion import Inclusions
from dnslb.dns.master.lines import read_lines
from dnslb.dns.master.source import Sources
from dnslb.dns.master.ttl import Ttls
from dnslb.dns.mistake import Mistaken, Part, at_word, warning
from dnslb.dns.name import Name

_MAX_GENERATED = 1_000_000  # records of all $GENERATE of a zone


class Reader:
    """What the entries read so far have set, and what they have added to ``builder``."""

    def __init__(self, apex: Name, inclusions: Inclusions, sources: Sources, builder: Builder) -> None:
        self.lost: set[Name] = set()         # owners of records that could not be read
        self.is_blind = False                # something was lost, and nobody knows whose
        self._apex = apex
        self._inclusions = inclusions
        self._sources = sources
        self._builder = builder
        self._ttls = Ttls(sources.report)
        self._heads, self._indented_heads = Heads(1), Heads(0)
        self._origin = apex
        self._owner: Name | None = None
        self._owner_text = ""                # what the owner was made from, under the present origin
        self._is_outside = False             # the owner is not in this zone
        self._generated = 0

    def read_file(self, path: str, octets: bytes) -> None:
        """Every entry of one file.  What is wrong is reported, and reading goes on behind it."""
        octets = self._inclusions.begin(path, octets)
        base = self._sources.begin_span(path, 0)
        for number, words, is_indented, bad in read_lines(octets):
            place = base + number
            if bad is not None:
                self.is_blind = True
                self._sources.report(place, bad.mistake)
                if not is_indented:
                    self._lose_owner()
            elif words[0][0] == "$" and not is_indented:
                self._sources.end_span(place)
                self._obey(words, place)
                base = self._sources.begin_span(path, number)
            else:
                self._take(words, is_indented, place)
        self._sources.end_span(base + octets.count(b"\n") + 1)
        self._inclusions.end()

    # Records

    def _take(self, words: list[str], is_indented: bool, place: int) -> None:
        """One record line; when it is wrong, one message."""
        owner = None
        at = 0  # the word from which a mistake counts
        try:
            owner = self._last_owner() if is_indented else self._set_owner(words[0], place)
            head = (self._indented_heads if is_indented else self._heads).parse(words)
            at = head.at
            self._add(owner, head, words[at + 1 :], place)
        except Mistaken as error:
            if owner is None:
                self.is_blind = True
            else:
                self.lost.add(owner)
            error.point_at(at + error.mistake.word)
            self._sources.report(place, error.mistake)

    def _add(self, owner: Name, head: Head, words: Sequence[str], place: int) -> None:
        """Add the record with these words of rdata.  Raises Mistaken, which counts words from the type on."""
        try:
            octets = rdata.parse(head.rrtype, words, self._origin)
        except Mistaken as error:
            error.point_at(1 + error.mistake.word)
            raise
        ttl = self._ttls.of(head, octets, place)
        if not self._is_outside:
            self._builder.add(owner, head.rrtype, ttl, octets, place)

    def _last_owner(self) -> Name:
        if self._owner is None:
            raise Mistaken("a record without an owner", "begin the line with the owner, or with @")
        return self._owner

    def _set_owner(self, text: str, place: int) -> Name:
        if text == self._owner_text and self._owner is not None:
            return self._owner
        try:
            owner = name.fold(_parse_name(text, self._origin))
        except Mistaken:
            self._lose_owner()
            raise
        self._owner, self._owner_text = owner, text
        self._is_outside = not name.is_at_or_below(owner, self._apex)
        if self._is_outside:
            fact = f"{name.text(owner)} is outside the zone {name.text(self._apex)}"
            self._sources.report(place, warning(Part.OWNER, fact, "move it to its own zone; it is ignored here"))
        return owner

    def _lose_owner(self) -> None:
        """After an owner that cannot be read, records that omit theirs must not go to the owner before it."""
        self._owner, self._owner_text, self._is_outside = self._apex, "", True

    # Directives

    def _obey(self, words: list[str], place: int) -> None:
        try:
            match words[0].upper():
                case "$TTL":
                    _check_number(words, 1, 1, "$TTL 1h")
                    self._ttls.set_default(words[1], place)
                case "$ORIGIN":
                    _check_number(words, 1, 1, "$ORIGIN example.com.")
                    self._origin = self._parse_origin(words[1], 1)
                case "$INCLUDE":
                    _check_number(words, 1, 2, "$INCLUDE file [origin]")
                    self._include(words)
                case "$GENERATE":
                    _check_number(words, 4, None, generate.FORM)
                    self._generate(words, place)
                case _:
                    _refuse_directive(words[0])
        except Mistaken as error:
            self.is_blind = True
            self._sources.report(place, error.mistake)

    def _parse_origin(self, text: str, word: int) -> Name:
        self._owner_text = ""  # the same text means another name from here on
        with at_word(word):
            return _parse_name(text, self._origin)

    def _include(self, words: list[str]) -> None:
        """Read another file here.  Origin and owner are then as before (RFC 1035 §5.1); what $TTL set there stays."""
        origin, owner, is_outside = self._origin, self._owner, self._is_outside
        inner = self._parse_origin(words[2], 2) if len(words) > 2 else origin
        path, octets = self._inclusions.find(_unquote(words[1]))
        self._origin = inner
        self.read_file(path, octets)
        self._origin, self._owner, self._is_outside = origin, owner, is_outside
        self._owner_text = ""

    def _generate(self, words: list[str], place: int) -> None:
        """The records of $GENERATE, as BIND makes them.  The owner of what follows is not changed."""
        template = generate.parse(words)
        head = template.head
        self._generated += template.size
        if self._generated > _MAX_GENERATED:
            raise Mistaken(f"more than {_MAX_GENERATED} records from $GENERATE", "generate fewer", 1)
        kept = self._owner, self._owner_text, self._is_outside
        at = 2  # the word from which a mistake counts
        try:
            for number in template.numbers:
                at = 2
                owner = self._set_owner(template.owner(number), place)
                at = head.at
                self._add(owner, head, template.rdata(number), place)
        except Mistaken as error:
            # The first mistake of many that are one: the same template made them.
            error.point_at(min(at + error.mistake.word, len(words) - 1))
            raise
        finally:
            self._owner, self._owner_text, self._is_outside = kept


def _refuse_directive(word: str) -> NoReturn:
    known = "$TTL, $ORIGIN, $INCLUDE and $GENERATE are"
    raise Mistaken(f"{word} is no directive", rf"{known}; write \$ if an owner's name begins so")


def _parse_name(text: str, origin: Name) -> Name:
    return name.parse(_unquote(text), origin)


def _unquote(text: str) -> str:
    """The text between the quotes, if there are any.  Raises Mistaken."""
    if text[0] != '"':
        return text
    if len(text) == 2:
        raise Mistaken("an empty string where a name belongs", "write @ for the origin")
    return text[1:-1]


def _check_number(words: list[str], least: int, most: int | None, form: str) -> None:
    """Raises Mistaken unless the directive has so many words behind it."""
    if len(words) <= least:
        raise Mistaken(f"{words[0]} needs more than this", f"write {form}", len(words))
    if most is not None and len(words) > most + 1:
        raise Mistaken(f"{words[most + 1]} is one word too many for {words[0]}", f"write {form}", most + 1)
