"""The programs that fetch over HTTP, each as it comes: how to run them, and what is missing when they are not there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comparison.processes import NotStartedError, Program

HERE = Path(__file__).parent
CURL = Program("curl", "curl", "curl")
WGET = Program("wget", "wget", "wget")
NODE = Program("Node", "node", "nodejs")
GO = Program("Go", "go", "golang-go")
JAVA = Program("Java", "java", "openjdk-17-jdk-headless")
JAVAC = Program("javac", "javac", "openjdk-17-jdk-headless")
CHROMIUM = Program("Chromium", "chromium", "chromium")
BUILDING = 180.0        # seconds that a compiler may take

Command = list[str]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """One program, or one library in a language."""

    name: str
    version: str                                # of the program, or of the library
    once: Callable[[str], Command]              # fetch the URL
    many: Callable[[int, str], Command]         # so many times, one after the other
    loop: Callable[[float, Sequence[str]], Command] | None = None   # for so many seconds; None: it ends with each URL
    environment: dict[str, str] = field(default_factory=dict)
    is_browser: bool = False                    # a page does the fetching, and it never ends by itself

    @property
    def key(self) -> str:
        """Part of a host name."""
        return re.sub(r"[^a-z]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, and what to install for the rest."""

    fetchers: tuple[Fetcher, ...]
    missing: tuple[str, ...]


def find(directory: Path) -> Found:
    """All of them, those that are compiled in the directory.  Raises NotStartedError when one cannot be compiled."""
    found: list[Fetcher] = []
    missing: list[str] = []
    for programs, make in (((CURL,), _curl), ((WGET,), _wget), ((), _python), ((NODE,), _node), ((GO,), _go),
                           ((JAVA, JAVAC), _java), ((CHROMIUM,), _chromium)):
        lacks = [fact for one in programs if (fact := one.missing())]
        if lacks:
            missing += lacks
        else:
            found += make(directory)
    missing += [f"{library} is missing: pip install {library}" for library in LIBRARIES
                if importlib.util.find_spec(library) is None]
    return Found(tuple(found), tuple(missing))


def version(program: Program, option: str) -> str:
    """As the program says it."""
    done = subprocess.run([str(program), option], capture_output=True, text=True, check=False, timeout=30)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return number[0] if number else "unknown"


def _curl(directory: Path) -> list[Fetcher]:
    common = [str(CURL), "--silent", "--show-error", "--fail", "--output", "/dev/null"]
    return [Fetcher("curl", version(CURL, "--version"), lambda url: [*common, url],
                    lambda count, url: [*common, f"{url}?[1-{count}]"])]


def _wget(directory: Path) -> list[Fetcher]:
    common = [str(WGET), "--no-verbose", "--output-document=/dev/null"]
    return [Fetcher("wget", version(WGET, "--version"), lambda url: [*common, url],
                    lambda count, url: [*common, *[url] * count])]


LIBRARIES = ("requests", "httpx", "aiohttp")


def _python(directory: Path) -> list[Fetcher]:
    there = [library for library in LIBRARIES if importlib.util.find_spec(library) is not None]
    versions = {"urllib": sys.version.split()[0]} | {library: importlib.metadata.version(library) for library in there}
    return [_scripted(f"Python {library}", number, [sys.executable, str(HERE / "fetch.py"), library])
            for library, number in versions.items()]


def _node(directory: Path) -> list[Fetcher]:
    return [_scripted(f"Node {way}", version(NODE, "--version"), [str(NODE), str(HERE / "fetch.mjs"), way])
            for way in ("http", "fetch")]


def _go(directory: Path) -> list[Fetcher]:
    program = directory / "fetch"
    _build(directory, [str(GO), "build", "-o", str(program), str(HERE / "fetch.go")])
    return [_scripted(name, version(GO, "version"), [str(program)], GODEBUG=f"netdns={resolver}")
            for name, resolver in (("Go, its resolver", "go"), ("Go, glibc", "cgo"))]


def _java(directory: Path) -> list[Fetcher]:
    _build(directory, [str(JAVAC), "-d", str(directory), str(HERE / "Fetch.java")])
    run = [str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", str(directory), "Fetch"]
    return [_scripted(f"Java {name}", version(JAVA, "-version"), [*run, way])
            for name, way in (("URLConnection", "url"), ("HttpClient", "client"))]


def _chromium(directory: Path) -> list[Fetcher]:
    # All that a fresh profile would fetch from elsewhere is off; nothing about names or connections is changed.
    run = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
           "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-extensions", "--remote-debugging-port=0"]

    def page(url: str, query: str) -> Command:
        base, _, _ = url.partition("//")
        host = url.removeprefix(f"{base}//").partition("/")[0]
        return [*run, f"{base}//{host}/page?{query}"]

    return [Fetcher("Chromium", version(CHROMIUM, "--version"), lambda url: [*run, url],
                    lambda count, url: page(url, f"many={count}&url={url}"),
                    lambda seconds, urls: page(urls[0], "&".join(f"url={url}" for url in urls)), is_browser=True)]


def _scripted(name: str, number: str, run: Command, **environment: str) -> Fetcher:
    """One that speaks our three words."""
    return Fetcher(name, number, lambda url: [*run, "once", url], lambda count, url: [*run, "many", str(count), url],
                   lambda seconds, urls: [*run, "loop", f"{seconds:g}", *urls], environment)


def _build(directory: Path, command: Command) -> None:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(directory), "GO111MODULE": "off"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILDING, env=environment)
    if done.returncode:
        raise NotStartedError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
