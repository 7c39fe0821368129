"""``python -m multitalk.bake bake | verify``: the commands that make weights, without the rest.

The image's build has no more of it, so that new code bakes nothing again.
"""

from __future__ import annotations

import argparse
import sys

from ..errors import MultiTalkError
from .commands import add_bake, add_verify


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m multitalk.bake", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_bake(commands.add_parser("bake", help="convert the published weights"))
    add_verify(commands.add_parser("verify", help="check a baked weights folder"))
    args = parser.parse_args()
    try:
        return int(args.command(args))
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
