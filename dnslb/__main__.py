"""``python -m dnslb`` is ``dnslb``."""

from dnslb.cli import main

main(prog_name="dnslb")
