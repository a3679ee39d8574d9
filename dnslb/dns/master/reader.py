"""Reads a master file and those that it includes: directives and records (RFC 1035 §5.1, RFC 2308 §4).

Pure: ``read`` brings the octets of a file, ``builder`` takes the records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from posixpath import dirname, join, normpath
from typing import NoReturn

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.master import generate, ttl
from dnslb.dns.master.builder import Builder
from dnslb.dns.master.finding import Part, error, warning
from dnslb.dns.master.head import Head, Mistake, check_ttl, parse_head
from dnslb.dns.master.lines import read_lines
from dnslb.dns.master.source import Sources
from dnslb.dns.name import BadName, Name
from dnslb.system.file import MOST_ZONE

_MAX_DEPTH = 16             # files that include one another
_MAX_INCLUDES = 10_000      # in all: a file that includes twice one that includes twice one that … never ends
_MAX_GENERATED = 1_000_000  # records of all $GENERATE of a zone
_WITH_VALUES = frozenset({rrtype.SVCB, rrtype.HTTPS})
_BOM = b"\xef\xbb\xbf"


class Reader:
    """What the entries read so far have set, and what they have added to ``builder``."""

    def __init__(self, apex: Name, read: Callable[[str], bytes], sources: Sources, builder: Builder) -> None:
        self.apex = apex
        self.read = read
        self.sources = sources
        self.builder = builder
        self.report = builder.report
        self.lost: set[Name] = set()         # owners of records that could not be read
        self.is_blind = False                # something was lost, and nobody knows whose
        self._origin = apex
        self._owner: Name | None = None
        self._owner_text = ""                # what the owner was made from, under the present origin
        self._is_outside = False             # the owner is not in this zone
        self._default_ttl: int | None = None  # of $TTL, or for want of it the SOA's minimum
        self._last_ttl: int | None = None
        self._open: list[str] = []           # files being read, the outermost first
        self._included = 0
        self._octets = 0                     # read; a file counts as often as it is included
        self._generated = 0

    def read_file(self, path: str, octets: bytes) -> None:
        """Every entry of one file.  What is wrong is reported, and reading goes on behind it."""
        octets = octets.removeprefix(_BOM)
        self._octets += len(octets)
        self.sources.octets[path] = octets
        self._open.append(path)
        base = self.sources.begin_span(path, 0)
        for number, words, is_indented, bad in read_lines(octets):
            place = base + number
            if bad is not None:
                self.is_blind = True
                self.report(error(place, Part.OCTET, bad.fact, bad.remedy))
                if not is_indented:
                    self._lose_owner()
            elif words[0][0] == "$" and not is_indented:
                self.sources.end_span(place)
                self._obey(words, place)
                base = self.sources.begin_span(path, number)
            else:
                self._take(words, is_indented, place)
        self.sources.end_span(base + octets.count(b"\n") + 1)
        self._open.pop()

    # Records

    def _take(self, words: list[str], is_indented: bool, place: int) -> None:
        """One record line; when it is wrong, one message."""
        owner = None
        try:
            at = 0
            if not is_indented:
                at = 1
                if words[0] != self._owner_text:
                    self._set_owner(words[0], place)
            owner = self._known_owner()
            head = parse_head(words, at)
            at = head.at + 1
            octets = _parse_rdata(head.rrtype, words[at:], self._origin)
            self._add(owner, head, octets, place)
        except Mistake as mistake:
            self._reject(place, owner, mistake.word, mistake.fact, mistake.remedy)
        except rdata.BadRdata as bad:
            self._reject(place, owner, at + bad.word, bad.fact, bad.remedy)

    def _set_owner(self, text: str, place: int) -> None:
        self._lose_owner()
        self._owner = owner = name.fold(_parse_name(text, self._origin, 0))
        self._owner_text = text
        self._is_outside = not name.is_at_or_below(owner, self.apex)
        if self._is_outside:
            fact = f"{name.text(owner)} is outside the zone {name.text(self.apex)}"
            self.report(warning(place, Part.OWNER, fact, "move it to its own zone; it is ignored here"))

    def _known_owner(self) -> Name:
        if self._owner is None:
            raise Mistake(0, "a record without an owner", "begin the line with the owner, or with @")
        return self._owner

    def _lose_owner(self) -> None:
        """The owner cannot be read: what follows with its owner omitted is not to be laid to the one before."""
        self._owner, self._owner_text, self._is_outside = self.apex, "", True

    def _add(self, owner: Name, head: Head, octets: bytes, place: int) -> None:
        seconds = head.ttl
        if seconds is None:
            seconds = self._omitted_ttl(head, octets, place)
        else:
            if seconds > ttl.MAX:
                seconds = self._overflow(seconds, place, Part.TTL)
            self._last_ttl = seconds
        if not self._is_outside:
            self.builder.add(owner, head.rrtype, seconds, octets, place)

    def _omitted_ttl(self, head: Head, octets: bytes, place: int) -> int:
        """$TTL; else the last TTL that was written; else, for the SOA and what follows, its minimum as in BIND."""
        if self._default_ttl is not None:
            return self._default_ttl
        if self._last_ttl is not None:
            return self._last_ttl
        if head.rrtype != rrtype.SOA:
            self._default_ttl = 0  # said once
            raise Mistake(head.at, "no TTL here, and none before", "begin the file with $TTL, such as $TTL 1h")
        self._default_ttl = min(int.from_bytes(octets[-4:]), ttl.MAX)
        remedy = f"begin the file with $TTL {self._default_ttl}"
        self.report(warning(place, Part.TYPE, "no $TTL; the SOA's minimum is the default TTL", remedy))
        return self._default_ttl

    def _overflow(self, seconds: int, place: int, part: Part, word: int = 0) -> int:
        fact = f"the TTL {seconds} is above {ttl.MAX}, and means 0"
        self.report(warning(place, part, fact, "write a lower one (RFC 2181 §8)", word))
        return 0

    def _reject(self, place: int, owner: Name | None, word: int, fact: str, remedy: str) -> None:
        if owner is None:
            self.is_blind = True
        else:
            self.lost.add(owner)
        self.report(error(place, Part.WORD, fact, remedy, word))

    # Directives

    def _obey(self, words: list[str], place: int) -> None:
        try:
            match words[0].upper():
                case "$TTL":
                    self._set_default_ttl(words, place)
                case "$ORIGIN":
                    _check_number(words, 1, 1, "$ORIGIN example.com.")
                    self._origin = self._parse_origin(words[1], 1)
                case "$INCLUDE":
                    _check_number(words, 1, 2, "$INCLUDE file [origin]")
                    self._include(words)
                case "$GENERATE":
                    self._generate(words, place)
                case _:
                    _refuse_directive(words[0])
        except Mistake as mistake:
            self.is_blind = True
            self.report(error(place, Part.WORD, mistake.fact, mistake.remedy, mistake.word))

    def _set_default_ttl(self, words: list[str], place: int) -> None:
        _check_number(words, 1, 1, "$TTL 1h")
        seconds = ttl.parse(words[1])
        if seconds is None:
            self._default_ttl = self._default_ttl or 0
            raise Mistake(1, f"{words[1]} is no TTL", "write seconds, or units as in 1h30m")
        if check_ttl(seconds, words[1], 1) > ttl.MAX:
            seconds = self._overflow(seconds, place, Part.WORD, 1)
        self._default_ttl = seconds

    def _parse_origin(self, text: str, word: int) -> Name:
        self._owner_text = ""  # the same text means another name from here on
        return _parse_name(text, self._origin, word)

    def _include(self, words: list[str]) -> None:
        """Another file's entries, here.  Origin and owner are as before, behind it (RFC 1035 §5.1); $TTL stays."""
        # Words are Latin-1 here; file names of our time are UTF-8.
        target = _unquote(words[1]).encode("latin-1").decode(errors="replace")
        path = normpath(join(dirname(self._open[-1]), target))
        origin, owner, is_outside = self._origin, self._owner, self._is_outside
        inner = self._parse_origin(words[2], 2) if len(words) > 2 else origin
        self._included += 1
        if not target or not path.isprintable():
            raise Mistake(1, "this is no file name", "write the name of a file")
        if path in map(normpath, self._open):
            raise Mistake(1, f"{path} includes itself", "remove the $INCLUDE that closes the loop")
        if len(self._open) > _MAX_DEPTH:
            raise Mistake(1, f"more than {_MAX_DEPTH} files include one another", "include from fewer levels")
        if self._included > _MAX_INCLUDES:
            raise Mistake(1, f"more than {_MAX_INCLUDES} inclusions", "put the records into fewer files")
        # Once, so that places mean the same lines throughout, though somebody edits the file at this moment.
        octets = self.sources.octets.get(path)
        if octets is None:
            octets = self._read(path)
        if self._octets + len(octets) > MOST_ZONE:
            raise Mistake(1, f"more than {MOST_ZONE >> 20} MB with all that is included", "split the zone")
        self._origin = inner
        self.read_file(path, octets)
        self._origin, self._owner, self._is_outside = origin, owner, is_outside
        self._owner_text = ""

    def _read(self, path: str) -> bytes:
        try:
            return self.read(path)
        except OSError as failure:
            reason = failure.strerror or type(failure).__name__
            raise Mistake(1, f"{path} cannot be read: {reason}", "give a file that can") from failure

    def _generate(self, words: list[str], place: int) -> None:
        """The records of $GENERATE, as BIND makes them.  The owner of what follows is not changed."""
        _check_number(words, 4, None, generate.FORM)
        numbers = generate.parse_range(words[1], 1)
        # Long lines count more: it is octets that fill the memory.
        self._generated += len(numbers) * (1 + sum(map(len, words)) // 1000)
        if self._generated > _MAX_GENERATED:
            raise Mistake(1, f"more than {_MAX_GENERATED} records from $GENERATE", "generate fewer")
        head = parse_head(words, 3)
        owners = generate.parse_template(words[2], 2)
        datas = generate.parse_rdata(words, head.at + 1)
        kept = self._owner, self._owner_text, self._is_outside
        try:
            for number in numbers:
                self._set_generated_owner(owners(number), place)
                self._add(self._known_owner(), head, _parse_rdata(head.rrtype, datas(number), self._origin), place)
        except rdata.BadRdata as bad:
            # The first mistake of many that are one: the same template made them.
            raise Mistake(min(head.at + 1 + bad.word, len(words) - 1), bad.fact, bad.remedy) from bad
        finally:
            self._owner, self._owner_text, self._is_outside = kept

    def _set_generated_owner(self, text: str, place: int) -> None:
        if text == self._owner_text:
            return
        try:
            self._set_owner(text, place)
        except Mistake as mistake:
            raise Mistake(2, mistake.fact, mistake.remedy) from mistake


def _refuse_directive(word: str) -> NoReturn:
    known = "$TTL, $ORIGIN, $INCLUDE and $GENERATE are"
    raise Mistake(0, f"{word} is no directive", rf"{known}; write \$ if an owner's name begins so")


def _parse_name(text: str, origin: Name, word: int) -> Name:
    try:
        return name.parse(_unquote(text), origin)
    except BadName as bad:
        raise Mistake(word, bad.fact, bad.remedy) from bad


def _parse_rdata(type_: int, words: Sequence[str], origin: Name) -> bytes:
    """``rdata.parse`` of words as the lexer cuts them: ``key="value"`` of a service binding in two (RFC 9460 §2.1)."""
    if type_ not in _WITH_VALUES:
        return rdata.parse(type_, words, origin)
    joined: list[str] = []
    origins: list[int] = []
    for at, word in enumerate(words):
        if joined and word[0] == '"' and joined[-1].endswith("="):
            joined[-1] += word
        else:
            joined.append(word)
            origins.append(at)
    try:
        return rdata.parse(type_, joined, origin)
    except rdata.BadRdata as bad:
        raise rdata.BadRdata(bad.fact, bad.remedy, [*origins, len(words)][bad.word]) from bad


def _unquote(text: str) -> str:
    """The text between the quotes, if there are any.  Raises Mistake."""
    if text[0] != '"':
        return text
    if len(text) == 2:
        raise Mistake(0, "an empty string where a name belongs", "write @ for the origin")
    return text[1:-1]


def _check_number(words: list[str], least: int, most: int | None, form: str) -> None:
    """That the directive has so many words behind it.  Raises Mistake."""
    if len(words) <= least:
        raise Mistake(len(words), f"{words[0]} needs more than this", f"write {form}")
    if most is not None and len(words) > most + 1:
        raise Mistake(most + 1, f"{words[most + 1]} is one word too many for {words[0]}", f"write {form}")
