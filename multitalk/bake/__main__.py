"""``python -m multitalk.bake bake | verify``: create and check weights without the rest of the package.

The image's build runs these commands, so that a change of other code does not bake the weights again.
"""

from __future__ import annotations

import argparse
import sys

from .commands import add_bake, add_verify, run_command


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_bake(commands.add_parser("bake", help="convert the published weights"))
    add_verify(commands.add_parser("verify", help="check a baked weights folder"))


if __name__ == "__main__":
    sys.exit(run_command("multitalk.bake", __doc__, _add_commands))
