"""Fetch over HTTP with one Python library, as it comes.

    python fetch.py LIBRARY once URL              exit status 0 for a reply of 200
    python fetch.py LIBRARY many N URL            N requests, one after the other
    python fetch.py LIBRARY loop SECONDS URL ...  all of them every half second
"""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

PAUSE = 0.5     # seconds


def turns(mode: str, rest: list[str]) -> Iterator[str]:
    """Whom to fetch, when it is time."""
    match mode:
        case "once":
            yield rest[0]
        case "many":
            yield from [rest[1]] * int(rest[0])
        case "loop":
            end = time.monotonic() + float(rest[0])
            while time.monotonic() < end:
                yield from rest[1:]
                time.sleep(PAUSE)


def by_urllib() -> Callable[[str], int]:
    def fetch(url: str) -> int:
        with urllib.request.urlopen(url) as reply:
            reply.read()
            return int(reply.status)

    return fetch


def by_requests() -> Callable[[str], int]:
    import requests  # noqa: PLC0415 (only the library that is asked for need be there)

    session = requests.Session()
    return lambda url: int(session.get(url).status_code)


def by_httpx() -> Callable[[str], int]:
    import httpx  # noqa: PLC0415

    client = httpx.Client()
    return lambda url: int(client.get(url).status_code)


async def by_aiohttp(urls: Iterable[str]) -> int:
    import aiohttp  # noqa: PLC0415

    status = 0
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(url) as reply:
                await reply.read()
                status = int(reply.status)
    return status


def main() -> None:
    library, mode, *rest = sys.argv[1:]
    if library == "aiohttp":
        sys.exit(asyncio.run(by_aiohttp(turns(mode, rest))) != 200)
    fetch = {"urllib": by_urllib, "requests": by_requests, "httpx": by_httpx}[library]()
    status = 0
    for url in turns(mode, rest):
        if mode == "loop":
            with suppress(OSError):
                fetch(url)
        else:
            status = fetch(url)
    sys.exit(mode != "loop" and status != 200)


if __name__ == "__main__":
    main()
