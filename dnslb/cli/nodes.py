"""``--server``: a command asks a server on another machine, or several, each for itself."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

import click

from dnslb.admin.client import Server

_MISTYPED = 2        # the exit status for it
_INTERRUPTED = 130   # of who was ended by Ctrl-C

Place: TypeAlias = Path | Server | None  # where a server is asked; None: on the default socket


def server_options(command: Callable[..., Any], is_stream: bool = False) -> Callable[..., Any]:
    """The command takes ``control``, a Place: with several of them it is run for each, in a process of its own.

    The lines of a stream are told as they come, each with the name of its server; other answers when they are whole.
    """

    @servers_options
    @wraps(command)
    def run(places: tuple[Place, ...], **options: Any) -> None:
        if len(places) == 1:
            command(control=places[0], **options)
        else:
            raise SystemExit(_run_for_each(places, command, options, is_stream or bool(options.get("follow"))))

    return run


stream_options = partial(server_options, is_stream=True)


def servers_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command takes ``places``, a tuple of Place, and looks itself how it asks them."""

    @wraps(command)
    def run(control: Path | None, servers: Sequence[str], token_file: Path | None, ca_file: Path | None,
            **options: Any) -> None:  # fmt: skip
        command(places=_places(control, servers, token_file, ca_file), **options)

    found: Callable[..., Any] = run
    for option in (
        click.option("--ca-file", type=click.Path(path_type=Path), envvar="DNSLB_CA_FILE", metavar="PATH",
                     help="Whom --server may be certified by; default: the system's authorities."),
        click.option("--token-file", type=click.Path(path_type=Path), envvar="DNSLB_TOKEN_FILE", metavar="PATH",
                     help="The file with the token for --server."),
        click.option("--server", "servers", multiple=True, envvar="DNSLB_SERVER", metavar="URL",
                     help="Ask the server at https://HOST[:5380]; may be repeated: each is asked."),
        click.option("--control", type=click.Path(path_type=Path), envvar="DNSLB_CONTROL", metavar="PATH",
                     help="The socket of the server; default: as for `dnslb serve`."),
    ):  # fmt: skip
        found = option(found)
    return found


def _places(
    control: Path | None, servers: Sequence[str], token_file: Path | None, ca_file: Path | None
) -> tuple[Place, ...]:
    source = click.get_current_context().get_parameter_source("control")
    if servers and control is not None and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--control and --server are both given; leave one out")
    return places_of(control, servers, token_file, ca_file)


def places_of(
    control: Path | None, servers: Sequence[str] | None, token_file: Path | None, ca_file: Path | None
) -> tuple[Place, ...]:
    """Where the options lead.  Raises click.UsageError."""
    if not servers:
        return (control,)
    # The modules behind it take a moment to import.
    from dnslb.admin.remote import NotUsable, parse  # noqa: PLC0415

    try:
        return tuple(parse(url, token_file, ca_file) for url in dict.fromkeys(servers))
    except NotUsable as error:
        raise click.UsageError(str(error)) from None


@dataclass(frozen=True, slots=True)
class _Node:
    """A server that is being asked by a process of ours."""

    name: str
    pid: int
    stdout: IO[bytes]
    stderr: IO[bytes]


def _run_for_each(
    places: tuple[Place, ...], command: Callable[..., Any], options: dict[str, Any], is_stream: bool
) -> int:
    """Run it for all of them at once; tell the answers in the order in which they were asked for.  The worst status."""
    width = max(len(str(place)) for place in places)
    nodes = []
    for place in places:
        told = f'{{"node": {json.dumps(str(place))}, ' if options.get("as_json") else f"{place!s:<{width}}  "
        nodes.append(_begun(place, command, options, told if is_stream else None))
    worst, answers = 0, {}
    # They are in groups of their own, so that Ctrl-C reaches each of them once, and each says what it has to.
    asked = {node.pid for node in nodes}

    def interrupt(*_: object) -> None:
        for pid in asked:
            os.kill(pid, signal.SIGINT)

    signal.signal(signal.SIGINT, interrupt)
    for number, node in enumerate(nodes):
        status = abs(os.waitstatus_to_exitcode(os.waitpid(node.pid, 0)[1]))
        asked.discard(node.pid)
        worst = max(worst, status)
        said, complaint = _text(node.stdout), _text(node.stderr)
        if status == _MISTYPED:  # at the first of them, so at all
            click.echo(complaint, err=True, nl=False)
            return status
        if options.get("as_json") and not is_stream:
            answers[node.name] = _value(said, complaint, status)
        elif not is_stream:
            between = "\n" if number else ""
            click.echo(f"{between}==> {node.name} <==\n{said}", nl=False)
        for line in complaint.splitlines():
            click.echo(f"{node.name}: {line}", err=True)
    if answers:
        click.echo(json.dumps(answers, indent=1))
    return worst


def _value(said: str, complaint: str, status: int) -> Any:
    """What a node has answered, for programs."""
    try:
        return json.loads(said)
    except ValueError:
        return {"error": complaint.strip().removeprefix("Error: "), "status": status}


def _begun(place: Place, command: Callable[..., Any], options: dict[str, Any], prefix: str | None) -> _Node:
    """``prefix`` is put before each line that is told at once; None: all is kept until the end."""
    stdout, stderr = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - until they are told
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _live(place, command, options, (stdout, stderr), prefix)
    return _Node(str(place), pid, stdout, stderr)


def _live(
    place: Place, command: Callable[..., Any], options: dict[str, Any], files: tuple[IO[bytes], IO[bytes]],
    prefix: str | None,
) -> NoReturn:  # fmt: skip
    """The life of a process that asks one server."""
    from dnslb.system import prctl  # noqa: PLC0415 - it takes a moment to import

    status = 1
    try:
        os.setpgid(0, 0)
        prctl.die_with_parent(signal.SIGTERM)
        if prefix is None:
            os.dup2(files[0].fileno(), 1)
        else:
            sys.stdout = _Prefixed(prefix)
        os.dup2(files[1].fileno(), 2)
        command(control=place, **options)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        status = _INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _Prefixed:
    """A stream that is written to line by line, by several processes.  A prefix that begins an object replaces that."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            # In one piece, so that no other's line comes in between.
            rest = line[1:] if self._prefix.startswith("{") else line
            os.write(1, f"{self._prefix}{rest}\n".encode())
        return len(text)

    def flush(self) -> None:
        """Every line is out already."""

    def isatty(self) -> bool:
        return False


def _text(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode(errors="replace")
