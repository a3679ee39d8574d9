"""The man pages, made of what ``--help`` says: ``python -m dnslb.cli.man DIRECTORY``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from dnslb import __version__
from dnslb.cli import main

_SECTION = 8  # system administration (man-pages(7))


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    context = click.Context(main, info_name="dnslb", **main.context_settings)
    found = {f"dnslb.{_SECTION}": "\n".join(_page("dnslb", main, context))}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None and not command.hidden:
            page = _page(f"dnslb-{name}", command, click.Context(command, context, name))
            found[f"dnslb-{name}.{_SECTION}"] = "\n".join(page)
    return found


def _page(title: str, command: click.Command, context: click.Context) -> Iterator[str]:
    first, *rest = _paragraphs(command.help or "")
    yield f'.TH "{title.upper()}" {_SECTION} "" "dnslb {__version__}" "dnslb"'
    yield from (".SH NAME", f"{_text(title)} \\- {_text(first.splitlines()[0].rstrip('.'))}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_text(context.command_path)}", _text(usage))
    yield from (".SH DESCRIPTION", _text(first))
    for paragraph in rest:
        if paragraph.startswith("\b"):
            is_example = paragraph.startswith("\b\nExample:")
            told = paragraph.removeprefix("\b\n")
            if is_example:
                yield ".SH EXAMPLES"
                told = "\n".join(line.removeprefix("Example:").strip() for line in told.splitlines())
            yield from (".nf", _text(told), ".fi") if is_example else (".PP", ".nf", _text(told), ".fi")
        else:
            yield from (".PP", _text(paragraph))
    yield from _options(command, context)
    if isinstance(command, click.Group):
        yield from _commands(command, context)
    else:
        yield from (".SH SEE ALSO", f".BR dnslb ({_SECTION})")
    yield ""


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context)) is not None]
    if records:
        yield ".SH OPTIONS"
    for names, text in records:
        yield from (".TP", f".B {_text(names)}", _text(text))


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from (".TP", f".BR dnslb-{_text(name)} ({_SECTION})", _text(command.get_short_help_str(200)))


def _paragraphs(help_text: str) -> list[str]:
    return [paragraph.strip("\n") for paragraph in cleandoc(help_text).split("\n\n")]


def _text(text: str) -> str:
    """As troff reads it: nothing in it is an order."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in escaped.splitlines())


def write(directory: Path) -> list[Path]:
    """Write them all; the files.  Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in pages().items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m dnslb.cli.man DIRECTORY")
    for written in write(Path(sys.argv[1])):
        click.echo(written)
