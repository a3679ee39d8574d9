"""What others install is whole: the wheel, the Debian package, and what goes beside the program."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click import Context
from programs import program
from wheels import ROOT, build, judge

from dnslb import __version__
from dnslb.cli import main, man, roff

PACKAGE = ROOT / "dnslb"
DATA = f"dnslb-{__version__}.data/data"
COMMANDS = main.list_commands(Context(main))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build(tmp_path_factory.mktemp("wheel")))


def test_the_wheel_holds_all_that_the_package_has(wheel: zipfile.ZipFile) -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    ours = {f"dnslb/{path.relative_to(PACKAGE)}" for path in files if path != PACKAGE / "README.md"}
    ours |= {f"dnslb/samples/{path.name}" for path in (ROOT / "zones").iterdir()}
    assert {name for name in wheel.namelist() if name.startswith("dnslb/")} == ours
    assert "dnslb/py.typed" in ours


def test_beside_the_program_are_its_pages_completions_and_unit(wheel: zipfile.ZipFile) -> None:
    share = {name.removeprefix(f"{DATA}/share/") for name in wheel.namelist() if name.startswith(DATA)}
    pages = {f"man/man1/dnslb-{command}.1" for command in COMMANDS}
    pages |= {f"man/man{section}/dnslb-{called}.{section}" for called, (_, section) in man.MANUAL.items()}
    assert share == pages | {
        "man/man1/dnslb.1", "bash-completion/completions/dnslb", "zsh/site-functions/_dnslb",
        "fish/vendor_completions.d/dnslb.fish", "dnslb/dnslb.service", "dnslb/monitoring/alerts.yaml",
        "dnslb/monitoring/grafana.json",
    }  # fmt: skip


def test_what_is_said_of_the_package_is_known(wheel: zipfile.ZipFile) -> None:
    said = wheel.read(f"dnslb-{__version__}.dist-info/METADATA").decode().partition("\n\n")[0]
    for line in (f"Version: {__version__}", "Requires-Python: >=3.11", "Author: the dnslb developers",
                 "Classifier: Typing :: Typed", "Description-Content-Type: text/markdown"):
        assert line in said.splitlines()
    assert "License" not in said  # the owner has chosen none


def test_nothing_is_left_in_the_tree_by_a_build(wheel: zipfile.ZipFile) -> None:
    assert not (ROOT / "build").exists()
    assert not (ROOT / "share").exists()


def shown(page: str) -> str:
    """The man page as a reader has it; roff has nothing to say against it, but for names longer than a line."""
    command = [program("groff", "groff-base"), "-man", "-Tutf8", "-ww", "-Wbreak", "-Kutf8"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)


@pytest.mark.parametrize("page", ["", *(f"-{command}" for command in COMMANDS)])
def test_a_man_page_is_what_roff_understands(page: str) -> None:
    text = shown(man.files()[f"man1/dnslb{page}.1"])
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLE"):
        assert re.search(rf"^{section}$", text, re.MULTILINE), text
    assert "--help" in text


@pytest.mark.parametrize(("called", "path", "section"), [(called, *place) for called, place in man.MANUAL.items()])
def test_a_page_of_the_manual_is_a_man_page_that_lacks_no_word(called: str, path: Path, section: int) -> None:
    text = shown(man.files()[f"man{section}/dnslb-{called}.{section}"])
    # roff cuts words where lines end, so what is compared has neither blanks nor hyphens.
    told = re.sub(r"[\s\u2010-]+", "", text)
    marks = r"^\|.*\n\| --.*$|^```\w*$|\]\([^)]*\)|<br>|[`*|\[\]-]|^#+ "
    prose = re.sub(marks, " ", path.read_text(), flags=re.MULTILINE)
    missing = [word for word in prose.split() if word.strip("():,.;") not in told]
    assert missing == []


MARKDOWN = [
    ("Two\nlines: `code`, **strong** and *weak*.", ".PP\nTwo lines: \\fBcode\\fR, \\fBstrong\\fR and \\fIweak\\fR."),
    ("## A - B\n### C", ".SH A \\- B\n.SS C"),
    ("- one\n  goes on\n- two\n  ```\n    $ x\n  .y\n  ```", (
        ".IP \\(bu 2\none goes on\n.IP \\(bu 2\ntwo\n.PP\n.RS 4\n.nf\n  $ x\n\\&.y\n.fi\n.RE")),
    ("| a | b |\n| - | - |\n| `x` | y<br>z |", ".PP\n\\fBx\\fR\n.RS 4\ny\n.br\nz\n.RE"),
    ("| a | b | c |\n| - | - | - |\n| x | | y |\n| z | | |", ".PP\nx\n.RS 4\n\\fIc\\fR: y\n.RE\n.PP\nz"),
    ("See [it](x.md) and [that](#here).", ".PP\nSee it (\\fBx.md\\fR) and that."),
    ("`.a`<br>.b", ".PP\n\\fB.a\\fR\n.br\n\\&.b"),
    ("'tis a \\\\ and\n.dot", ".PP\n\\&'tis a \\e\\e and .dot"),
]  # fmt: skip


@pytest.mark.parametrize(("markdown", "expected"), MARKDOWN)
def test_markdown_becomes_roff(markdown: str, expected: str) -> None:
    told = roff.paragraphs(markdown, lambda link: "" if link.startswith("#") else link)
    assert "\n".join(told) == expected




def test_bash_reads_its_completion(tmp_path: Path) -> None:
    path = tmp_path / "dnslb"
    path.write_text(man.files()["bash-completion/completions/dnslb"])
    asked = f". {path}; COMP_WORDS=(dnslb drai) COMP_CWORD=1; _dnslb_completion dnslb drai; echo ${{COMPREPLY[*]}}"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("drain\n", "")


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the Debian package, and DEBIAN/ in it."""
    program("dpkg-deb", "dpkg")
    directory = tmp_path_factory.mktemp("deb")
    done = subprocess.run([ROOT / "scripts/deb", directory], capture_output=True, text=True, timeout=300, check=False)
    judge(done)
    subprocess.run(["dpkg-deb", "-R", done.stdout.strip(), directory / "tree"], check=True)
    return directory / "tree"


@pytest.mark.long
def test_the_debian_package_has_everything_in_its_place(deb: Path) -> None:
    control = (deb / "DEBIAN/control").read_text()
    assert f"Version: {__version__}\n" in control
    unit = (deb / "usr/lib/systemd/system/dnslb.service").read_text()
    assert "ExecStart=/usr/bin/dnslb serve /etc/dnslb/zones " in unit
    assert "/opt" not in unit
    assert gzip.decompress((deb / "usr/share/man/man1/dnslb-serve.1.gz").read_bytes()).startswith(b".TH DNSLB-SERVE")
    assert (deb / "usr/share/doc/dnslb/examples").resolve() == deb / "usr/lib/dnslb/dnslb/samples"
    for place in ("bash-completion/completions/dnslb", "zsh/vendor-completions/_dnslb", "doc/dnslb/copyright"):
        assert (deb / "usr/share" / place).is_file()
    assert list(deb.rglob("*.so")) == []    # one package for every architecture
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", deb / "DEBIAN" / script], check=True)


@pytest.mark.long
def test_what_the_debian_package_brings_runs(deb: Path) -> None:
    # By this Python, since that of the system may lack click and PyYAML.
    command = [sys.executable, str(deb / "usr/bin/dnslb"), "check", str(deb / "usr/lib/dnslb/dnslb/samples")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "www.example.net." in done.stdout


def test_the_container_runs_as_an_ordinary_user_and_tells_its_health() -> None:
    text = (ROOT / "scripts/Containerfile").read_text()
    assert text.index("USER dnslb") < text.index("ENTRYPOINT")
    health = re.search(r'HEALTHCHECK .*CMD \["python", "-c", "(.*)"\]', text.replace("\\\n", ""))
    assert health is not None
    compile(health[1], "HEALTHCHECK", "exec")
