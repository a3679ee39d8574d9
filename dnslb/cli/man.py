"""What goes beside the program: man pages and completions for shells, made from the commands and from the manual.

``python -m dnslb.cli.man DIRECTORY`` writes them as they belong below /usr/share.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from dnslb import __version__
from dnslb.cli import complete, main, roff
from dnslb.cli.roff import escaped

_COMPLETIONS = {
    "bash": "bash-completion/completions/dnslb",
    "zsh": "zsh/site-functions/_dnslb",
    "fish": "fish/vendor_completions.d/dnslb.fish",
}
_PACKAGE = Path(__file__).parent.parent
MANUAL = {"zones": (_PACKAGE / "samples" / "README.md", 5)} | {
    path.stem: (path, 7) for path in sorted((_PACKAGE / "manual").glob("*.md"))
}  # the file and the section of each page
_AS_IT_IS = "\b"  # begins a paragraph whose lines click does not wrap


def files() -> dict[str, str]:
    """The text of each, by its place below /usr/share."""
    manual = {f"man{section}/dnslb-{called}.{section}": _manual_page(called) for called, (_, section) in MANUAL.items()}
    return _pages() | manual | {place: complete.script(shell) for shell, place in _COMPLETIONS.items()}


def _pages() -> dict[str, str]:
    context = click.Context(main, info_name="dnslb", **main.context_settings)
    commands = {called: main.get_command(context, called) for called in main.list_commands(context)}
    shown = {called: command for called, command in commands.items() if command is not None and not command.hidden}
    pages = {"man1/dnslb.1": "\n".join(_main_page(context, shown)) + "\n"}
    for called, command in shown.items():
        page = _page(command, click.Context(command, info_name=called, parent=context))
        pages[f"man1/dnslb-{called}.1"] = "\n".join(page) + "\n"
    return pages


def _main_page(context: click.Context, commands: dict[str, click.Command]) -> Iterator[str]:
    yield from _page(main, context)
    yield ".SH COMMANDS"
    for called, command in commands.items():
        yield f".TP\n.BR dnslb\\-{escaped(called)} (1)\n{escaped(_first_line(command))}"
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR dnslb\\-{called} ({section})" for called, (_, section) in MANUAL.items())


def _manual_page(called: str) -> str:
    path, section = MANUAL[called]
    title, _, text = path.read_text(encoding="utf-8").partition("\n")
    head = f'.TH DNSLB\\-{called.upper()} {section} "" "dnslb {__version__}" "dnslb"'
    name = f".SH NAME\n{escaped(f'dnslb-{called}')} \\- {escaped(title.removeprefix('# '))}\n.SH DESCRIPTION"
    return "\n".join([head, name, *roff.paragraphs(text, _leads_to), ""])


def _leads_to(link: str) -> str:
    """The page or the address that a link in the manual leads to; '' for one of the tree's files, or this page."""
    path = Path(link.partition("#")[0])
    called = "zones" if path.parts[-2:] == ("zones", "README.md") else path.stem
    if path.suffix == ".md" and called in MANUAL:
        return f"dnslb-{called}({MANUAL[called][1]})"
    return link if link.startswith("https://") else ""


def _page(command: click.Command, context: click.Context) -> Iterator[str]:
    """Name, synopsis, what it does, options, example."""
    path = context.command_path
    title = path.replace(" ", "-")
    yield f'.TH {title.upper()} 1 "" "dnslb {__version__}" "dnslb"'
    yield f".SH NAME\n{escaped(title)} \\- {escaped(_first_line(command).rstrip('.'))}"
    yield f".SH SYNOPSIS\n.B {escaped(path)}\n{escaped(' '.join(command.collect_usage_pieces(context)))}"
    paragraphs = cleandoc(command.help or "").split("\n\n")
    yield ".SH DESCRIPTION"
    yield from (_paragraph(text) for text in paragraphs if not _is_example(text))
    yield ".SH OPTIONS"
    for record in filter(None, (option.get_help_record(context) for option in command.get_params(context))):
        yield f".TP\n.B {escaped(record[0])}\n{escaped(record[1])}"
    yield from (f".SH EXAMPLE\n{_paragraph(text)}" for text in paragraphs if _is_example(text))
    if context.parent is not None:
        yield ".SH SEE ALSO\n.BR dnslb (1)"


def _first_line(command: click.Command) -> str:
    return " ".join(cleandoc(command.help or "").partition("\n\n")[0].split())


def _is_example(text: str) -> bool:
    return text.removeprefix(_AS_IT_IS).lstrip().startswith("Example:")


def _paragraph(text: str) -> str:
    if not text.startswith(_AS_IT_IS):
        return f".PP\n{escaped(' '.join(text.split()))}"
    block = text.removeprefix(_AS_IT_IS).lstrip("\n").replace("Example:", " " * len("Example:"), 1)
    return "\n".join([".PP", ".nf", *map(escaped, cleandoc(block).splitlines()), ".fi"])


if __name__ == "__main__":
    for place, content in files().items():
        path = Path(sys.argv[1]) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
