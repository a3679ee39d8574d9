"""One habit for all commands: what is typed is the same everywhere, completes, and is in the man pages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from dnslb_server import DNSLB
from peers import STARTING
from test_cli_control import HOSTS, Scene
from test_cli_control import scene as scene  # noqa: PLC0414 - a fixture

from dnslb.cli import main, man

CONTEXT = click.Context(main, **main.context_settings)
COMMANDS = main.list_commands(CONTEXT)


def completed(scene: Scene, words: str, shell: str = "bash") -> list[str]:
    """What the shell offers for the last of the words."""
    environment = {
        **os.environ, "_DNSLB_COMPLETE": f"{shell}_complete", "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1), "DNSLB_CONTROL": str(scene.directory / "control"),
    }  # fmt: skip
    if shell == "fish":
        environment["COMP_CWORD"] = words.rsplit(" ", maxsplit=1)[-1]
    done = subprocess.run(
        [*DNSLB], capture_output=True, text=True, check=False, timeout=STARTING, env=environment, cwd=scene.directory
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_names_and_addresses_complete_from_the_server_else_from_the_directory(scene: Scene) -> None:
    with scene.serving():
        assert completed(scene, "dnslb drain ww") == ["plain,www.example.test."]
        assert completed(scene, "dnslb drain db.example.test 127") == [f"plain,{host}" for host in HOSTS[:2]]
        assert completed(scene, "dnslb status d") == ["plain,db.example.test."]
        assert completed(scene, "dnslb lookup exa") == ["plain,example.test."]
        assert "www.example.test." in " ".join(completed(scene, "dnslb status w", "zsh"))
        assert "www.example.test." in " ".join(completed(scene, "dnslb status w", "fish"))
    assert completed(scene, "dnslb lookup ns") == ["plain,ns1.example.test."]
    assert completed(scene, "dnslb drain 127.0.1.21") == ["plain,127.0.1.21"]
    assert completed(scene, "dnslb dra") == ["plain,drain"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_the_script(scene: Scene, shell: str) -> None:
    done = scene_free("completion", shell)
    assert f"_DNSLB_COMPLETE={shell}_complete" in done
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done, text=True, check=True, timeout=STARTING)


def scene_free(*words: str) -> str:
    done = subprocess.run([*DNSLB, *words], capture_output=True, text=True, check=True, timeout=STARTING)
    return done.stdout


def test_lookup_live_is_what_the_server_answers(scene: Scene) -> None:
    with scene.serving():
        scene.dnslb("drain", HOSTS[0])
        done = scene.dnslb("lookup", "www.example.test", "--live")
        told = {line.split()[-1] for line in done.stdout.splitlines() if line.startswith("www.example.test. ")}
        assert (done.status, done.stderr, told) == (0, "", {HOSTS[1], HOSTS[2]})
        assert told == scene.named()
        at_rest = scene.dnslb("lookup", "www.example.test", str(scene.directory / "zones"))
        assert HOSTS[0] in at_rest.stdout
        scene.dnslb("maint", *HOSTS)
        assert scene.named() == {*HOSTS}  # it fails open
        assert "ANSWER: 3" in scene.dnslb("lookup", "www.example.test", "--live").stdout
        assert "status: NXDOMAIN" in scene.dnslb("lookup", "nope.example.test", "MX", "--live").stdout
        assert "status: REFUSED" in scene.dnslb("lookup", "example.org", "--live").stdout
        done = scene.dnslb("lookup", "www.example.test", "zones/", "--live")
        assert done.status == 2
        assert "leave DIRECTORY out" in done.stderr


@pytest.mark.parametrize(("target", "error"), [
    ("/lookup/a..b/A", "the name a..b has an empty label"),
    ("/lookup/www/FOO", "'FOO' is no record type"),
    ("/lookup/www/A/x", "'x' is no address"),
    (f"/lookup/{'x' * 5000}/A", "the name is too long, or not ASCII"),
    ("/lookup/%ff/A", "the name is too long, or not ASCII"),
])
def test_a_question_that_is_none_is_told_why(scene: Scene, target: str, error: str) -> None:
    from dnslb.admin import client  # noqa: PLC0415

    with scene.serving():
        status, found = client.ask(scene.directory / "control", "GET", target)
        assert (status, found["error"]) == (400, error)


def test_there_is_a_man_page_for_each_command_with_what_its_help_says(tmp_path: Path) -> None:
    pages = {name.removeprefix("man1/"): text for name, text in man.files().items() if name.startswith("man1/")}
    assert set(pages) == {"dnslb.1", *(f"dnslb-{name}.1" for name in COMMANDS)}
    assert "\\-\\-reason TEXT\nShown in the status and in the history." in pages["dnslb-drain.1"]
    assert "dnslb drain 192.0.2.11 \\-\\-for 30m" in pages["dnslb-drain.1"]
    assert not any("\b" in text for text in pages.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_for_a_length_of_time_takes_a_unit(name: str) -> None:
    command = main.get_command(CONTEXT, name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name in {"interval", "ttls", "timeout", "lasts", "window"}:
            assert parameter.metavar == "DURATION", (name, parameter.name)
