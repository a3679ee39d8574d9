"""Master files: the zone files of RFC 1035 §5 in, a checked zone out, and back to text.

Pure: the caller brings the function that reads a file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dnslb.dns import name
from dnslb.dns.master import checks
from dnslb.dns.master.builder import Builder
from dnslb.dns.master.inclusion import Inclusions
from dnslb.dns.master.printer import records
from dnslb.dns.master.reader import Reader
from dnslb.dns.master.source import Hopeless, Sources
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.system import collector
from dnslb.text.problem import Level, Problem, has_errors

__all__ = ["load", "records"]


def load(
    path: str, apex: Name, read: Callable[[str], bytes], include: Callable[[str], bytes] | None = None
) -> tuple[Zone | None, list[Problem]]:
    """The zone of a master file, and every problem in it and in the files that it includes, in reading order.

    ``read`` gives the octets of the file, ``include`` (by default the same) those of an included one; both may raise
    OSError.  No zone comes back when a problem is an error.
    """
    try:
        octets = read(path)
    except OSError as failure:
        reason = failure.strerror or type(failure).__name__
        return None, [Problem(Level.ERROR, path, 0, 0, f"cannot be read: {reason}", "give a file that can")]
    apex = name.fold(apex)
    sources = Sources()
    with collector.paused():
        builder = Builder(apex, sources.report)
        reader = Reader(apex, Inclusions(include or read, sources.octets), sources, builder)
        zone = None
        with suppress(Hopeless):
            reader.read_file(path, octets)
            zone = builder.build(sources.places())
            for place, mistake in checks.check(zone, builder.later_places, None if reader.is_blind else reader.lost):
                sources.report(place, mistake)
        problems = sources.problems()
    return (None if has_errors(problems) else zone), problems
