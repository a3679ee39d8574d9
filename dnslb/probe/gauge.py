"""What an answer over HTTP tells of its server's load: in a header, in JSON, or on a page of metrics.

Pure: octets in, readings out.
"""

from __future__ import annotations

from collections.abc import Iterable

from dnslb.balance.pool import Gauge
from dnslb.balance.reading import Reading, of_number

_MOST_LINE = 8192  # octets of a line of metrics that are looked at


def of_headers(gauge: Gauge, headers: Iterable[tuple[bytes, bytes]]) -> Reading:
    """``headers`` have names in lower case, as h11 gives them."""
    wanted = gauge.name.lower().encode()
    found = [value for name, value in headers if name == wanted]
    if len(found) != 1:
        return Reading(fault=f"{'no' if not found else 'more than one'} header {gauge.name}")
    return of_number(found[0].decode("latin-1"), gauge.full, gauge.name)


class Page:
    """A page of metrics in Prometheus's text format, read as it comes: a line at a time is kept.

    A metric is written as ``node_load1``, or with the labels of one series as the page writes them.  Series of one name
    stand together: when another follows the first, nobody knows which is meant.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._name = gauge.name.encode()
        self._rest = b""
        self._found: Reading | None = None
        self.is_done = False

    def feed(self, octets: bytes) -> None:
        *lines, self._rest = (self._rest + octets).split(b"\n")
        self._rest = self._rest[:_MOST_LINE]
        for line in lines:
            self._look(line)

    def reading(self) -> Reading:
        """At the end of the page, or when nothing more is wanted of it."""
        self._look(self._rest)
        return self._found or Reading(fault=f"the page has no {self._gauge.name}")

    def _look(self, line: bytes) -> None:
        if self.is_done:
            return
        value = self._value(line)
        if value is None:
            self.is_done = self._found is not None
        elif self._found is not None:
            self._found, self.is_done = Reading(fault=f"{self._gauge.name} has several series; name one of them"), True
        else:
            self._found = of_number(value, self._gauge.full, self._gauge.name)

    def _value(self, line: bytes) -> str | None:
        """The number behind the metric, when the line is its own; a timestamp may follow."""
        if not line.startswith(self._name):
            return None
        rest = line[len(self._name) :]
        if rest[:1] == b"{" and not self._name.endswith(b"}"):
            rest = rest.rpartition(b"}")[2]
        words = rest.split()
        return words[0].decode("latin-1") if words and rest[:1].isspace() else None
