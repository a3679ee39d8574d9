"""How pip builds dnslb: setuptools, over a copy of the tree to which the man pages and completions have been added.

They are made from the commands, so a wheel takes what dnslb itself needs; an editable install does without them.
Nothing is left in the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 - pip asks us for them
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
)

PROJECT = "pyproject.toml"
FILES = (PROJECT, "README.md", "dnslb", "zones", "scripts", "tests")
DATA = ("scripts/dnslb.service", "scripts/monitoring")     # they go beside the program, as they are
UNWANTED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", "report")


@contextmanager
def complete_tree() -> Iterator[None]:
    """In a copy of the tree, with all that a wheel holds."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="dnslb-build-") as directory:
        tree = Path(directory)
        for name in FILES:
            copy(root / name, tree / name)
        share = tree / "share"
        subprocess.run([sys.executable, "-m", "dnslb.cli.man", share], cwd=tree, check=True,
                       env=os.environ | {"PYTHONPATH": os.pathsep.join([directory, *filter(None, sys.path)])})
        (share / "dnslb").mkdir()
        for name in DATA:
            copy(tree / name, share / "dnslb" / Path(name).name)
        with chdir(tree):
            yield


def copy(source: Path, target: Path) -> None:
    """Symbolic links become what they lead to."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=UNWANTED)
    else:
        shutil.copy(source, target)


def get_requires_for_build_wheel(config_settings: dict[str, object] | None = None) -> list[str]:
    project = tomllib.loads(Path(PROJECT).read_text(encoding="utf-8"))["project"]
    return [*build_meta.get_requires_for_build_wheel(config_settings), *project["dependencies"]]


def build_wheel(
    wheel_directory: str, config_settings: dict[str, object] | None = None, metadata_directory: str | None = None
) -> str:
    where = os.path.abspath(wheel_directory)
    with complete_tree():
        return build_meta.build_wheel(where, config_settings)


def build_sdist(sdist_directory: str, config_settings: dict[str, object] | None = None) -> str:
    where = os.path.abspath(sdist_directory)
    root = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="dnslb-build-") as directory:
        for name in FILES:
            copy(root / name, Path(directory) / name)
        Path(directory, "MANIFEST.in").write_text("graft dnslb\ngraft zones\ngraft scripts\ngraft tests\n")
        with chdir(directory):
            return build_meta.build_sdist(where, config_settings)
