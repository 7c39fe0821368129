"""``multitalk bake``: convert the published weights to a baked weights folder."""

from __future__ import annotations

import argparse
import sys

from ..bake.commands import add_bake, bake_command
from .progress_display import ProgressDisplay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_bake(parser)
    parser.add_argument("--quiet", action="store_true", help="do not show progress")


def run(args: argparse.Namespace) -> int:
    """Convert the weights and show progress."""
    with ProgressDisplay(sys.stderr, quiet=args.quiet) as display:
        return bake_command(args, display.show)
