"""The command line: its parser, and the exit status and message of each error.

Exit status: 0 success, 1 failure or a check that found a problem, 2 invalid input, 130 cancelled, 141 nobody
reads the output. ``inspect`` has another one: see its help.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
from pathlib import Path
from typing import NoReturn, TextIO

from .. import __version__
from ..bake.commands import add_fetch, add_verify, fetch_command, verify_command
from ..bench import command as bench
from ..errors import Cancelled, MultiTalkError, ProcessFailed
from ..parallel.launch import launched_rank
from ..runtime.process_memory import SMALLER, is_out_of_memory
from . import bake, doctor, generate, inspect

# By name: what adds the options, what runs the command, help text.
COMMANDS = {
    "generate": (generate.add_arguments, generate.run, "generate a video"),
    "fetch": (add_fetch, fetch_command, "download the published weights"),
    "bake": (bake.add_arguments, bake.run, "convert the published weights to a baked weights folder"),
    "verify": (add_verify, verify_command, "check the files of a baked weights folder"),
    "doctor": (doctor.add_arguments, doctor.run, "check this machine: GPU, hardware plan, weights, packages"),
    "inspect": (
        inspect.add_arguments,
        inspect.run,
        "say whether a file is marked as made by AI, and how",
    ),
    "bench": (bench.add_arguments, bench.run, "measure speed and memory"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; None uses those of the process.

    Returns:
        The exit status.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here: at the interpreter's exit, an error would be printed
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            if _lost_reader(stream):  # what the stream still holds goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 141  # as of a program that SIGPIPE ends


def _run(argv: list[str] | None) -> int:
    if launched_rank():  # torchrun started several processes, and only process 0 prints
        from .follow import follow_command

        return follow_command(argv)
    args = build_parser().parse_args(argv)
    try:
        return int(args.command(args))
    except Cancelled:
        return _fail("canceled.", args.debug, 130)
    except KeyboardInterrupt:
        return _fail("interrupted.", args.debug, 130)
    except BrokenPipeError as error:
        if _lost_reader(sys.stdout) or _lost_reader(sys.stderr):
            raise
        return _fail(_unexpected(error), args.debug, 1)
    except ProcessFailed as error:
        return _fail(str(error), args.debug, 1)
    except MultiTalkError as error:
        return _fail(str(error), args.debug, 2)
    except Exception as error:
        return _fail(_unexpected(error), args.debug, 1)


def _lost_reader(stream: TextIO) -> bool:
    """Return whether a stream is a pipe that nobody reads any more, as after ``| head -1``."""
    pipe = select.poll()
    try:
        pipe.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file of the system, as in a test
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in pipe.poll(0))


class Parser(argparse.ArgumentParser):
    """A parser that prints an invalid command as one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        self.exit(2, f"error: {message}. Run {self.prog} --help for the options.\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; it sets ``command`` to the function that runs the command."""
    script = Path(sys.argv[0]).stem == "multitalk"
    parser = Parser(
        prog="multitalk" if script else "python -m multitalk",
        description="Generate talking videos from an image and audio or text.",
    )
    parser.add_argument("--version", action="version", version=f"multitalk {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for name, (add_arguments, run, help_text) in COMMANDS.items():
        command = commands.add_parser(name, parents=[common], help=help_text, allow_abbrev=name != "generate")
        add_arguments(command)
        command.set_defaults(command=run)
    return parser


def _unexpected(error: Exception) -> str:
    """Describe an error that is not a MultiTalkError in one sentence."""
    if type(error).__name__ == "OutOfMemoryError":
        options = "--plan streamed_blocks=20, --plan vae_tiling=on"
        return f"out of GPU memory: {SMALLER}, or keep more of the model in host memory ({options})."
    if is_out_of_memory(error):
        return f"out of memory: {SMALLER}."
    reason = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {reason} (use --debug for the traceback)."


def _fail(message: str, debug: bool, status: int) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return status
