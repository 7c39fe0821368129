"""The command line: ``python -m multitalk generate | fetch | bake | verify | doctor | bench``.

Exit status: 0 done, 1 a failure, or a check that found something, 2 something to change in what was
asked for, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from .. import __version__
from ..bake.commands import add_bake, add_fetch, add_verify, bake_command
from ..errors import Cancelled, MultiTalkError, ProcessFailed
from ..parallel.launch import connected, launched_processes, launched_rank
from ..parallel.layout import ParallelSettings
from ..runtime.process_memory import SMALLER, is_out_of_memory
from .fields import build_request, request_fields


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments; None takes the process's.

    Returns:
        The exit status.
    """
    if launched_rank():  # torchrun has started several processes: this one isn't the first, which speaks
        from .follow import follow_command

        return follow_command(argv)
    args = build_parser().parse_args(argv)
    try:
        return int(args.command(args))
    except Cancelled:
        return _fail("cancelled.", args.debug, 130)
    except KeyboardInterrupt:
        return _fail("interrupted.", args.debug, 130)
    except ProcessFailed as error:
        return _fail(str(error), args.debug, 1)
    except MultiTalkError as error:
        return _fail(str(error), args.debug, 2)
    except Exception as error:
        return _fail(_unexpected(error), args.debug, 1)


def _unexpected(error: Exception) -> str:
    """A sentence for an error that no one raised on purpose."""
    if type(error).__name__ == "OutOfMemoryError":
        streamed = "leave more of the model in host memory (--plan streamed_blocks=20, --plan vae_tiling=on)"
        return f"out of GPU memory: {SMALLER}, or {streamed}."
    if is_out_of_memory(error):
        return f"out of memory: {SMALLER}."
    reason = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {reason} (--debug shows where)."


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``command`` to the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="python -m multitalk", description="A picture and a voice become a video."
    )
    parser.add_argument("--version", action="version", version=f"multitalk {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    _add_generate(commands.add_parser("generate", parents=[common], help="make a video", allow_abbrev=False))
    add_fetch(commands.add_parser("fetch", parents=[common], help="download the published weights"))
    _add_bake(commands.add_parser("bake", parents=[common], help="convert the published weights"))
    add_verify(commands.add_parser("verify", parents=[common], help="check a baked weights folder"))
    doctor = commands.add_parser(
        "doctor", parents=[common], help="say what this machine has and what is missing"
    )
    doctor.add_argument("--weights", metavar="DIR", help="baked weights folder")
    doctor.add_argument("--plans", action="store_true", help="the plan for every known GPU instead")
    doctor.add_argument("--cold-start", action="store_true", help="load the models and say what that took")
    doctor.set_defaults(command=doctor_command)
    _add_bench(commands.add_parser("bench", parents=[common], help="measure speed and memory"))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    _add_request_fields(parser)
    parser.add_argument("-o", "--output", metavar="OUT.mp4", required=True, help="the video to write")
    _add_machine_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=generate_command)


def _add_request_fields(parser: argparse.ArgumentParser) -> None:
    """What the video is to be: see ``request_fields``."""
    parser.add_argument("--image", metavar="FILE", help="the picture")
    parser.add_argument(
        "--audio", metavar="FILE", help="person 1's sound: a sound file, or a video with sound"
    )
    parser.add_argument("--audio2", metavar="FILE", help="person 2's sound")
    parser.add_argument(
        "--say", metavar="TEXT", help='words instead of a sound; "(s1) Hello. (s2) Hi!" for two'
    )
    parser.add_argument(
        "--voice", metavar="NAME", help="person 1's, for words; mixed: af_heart:0.6+af_bella:0.4"
    )
    parser.add_argument("--voice2", metavar="NAME", help="person 2's, for words")
    parser.add_argument(
        "--language", metavar="CODE", help="of the words, such as a (American English), b or f"
    )
    parser.add_argument("--speed", metavar="NUMBER", type=float, help="of the words; 1 is the voice's own")
    parser.add_argument(
        "--boxes", metavar="JSON", help='{"person1": [x0, y0, x1, y1], ...} in the picture\'s pixels'
    )
    parser.add_argument("--preset", metavar="NAME", help="quality, fusionx, lightx2v or demo")
    parser.add_argument("--prompt", metavar="TEXT", help="what the video shows")
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="any field of a request, as JSON (repeatable)",
    )
    parser.add_argument(
        "--request", metavar="JOB.json", help="a request's fields as JSON; other options go first"
    )


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    """What makes it."""
    parser.add_argument("--weights", metavar="DIR", help="baked weights folder")
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:N; left out: the first GPU, else the CPU"
    )
    parser.add_argument(
        "--plan",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="override a choice of the hardware plan, such as streamed_blocks=10 (repeatable)",
    )
    parser.add_argument(
        "--branch-groups",
        metavar="NUMBER",
        type=int,
        help="of torchrun's processes: into how many groups they part to take guidance branches",
    )
    parser.add_argument(
        "--share-weights",
        action=argparse.BooleanOptionalAction,
        help="of torchrun's processes: each keeps only its part of the transformer's weights "
        "(left out: where a GPU is too small for all of them)",
    )


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from ..bench import command

    command.add_arguments(parser)
    parser.set_defaults(command=command.run)


def _add_bake(parser: argparse.ArgumentParser) -> None:
    add_bake(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(command=_bake_command)


def _bake_command(args: argparse.Namespace) -> int:
    from .progress_display import ProgressDisplay

    with ProgressDisplay(sys.stderr, quiet=args.quiet) as display:
        return bake_command(args, display.show)


def generate_command(args: argparse.Namespace) -> int:
    """Makes a video and prints one line about it."""
    from ..media.video import check_target
    from .progress_display import ProgressDisplay

    request = build_request(request_fields(args))
    output = check_target(args.output)

    # Only now: torch and the models' libraries take seconds to import, and an error needs none of them.
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # its hints are for developers
    from ..runtime.weights_folder import find_weights
    from ..start.cold_start import ColdStart

    weights = find_weights(args.weights)
    start = ColdStart(weights)
    from ..runtime.settings import PlanSettings

    settings = PlanSettings.from_environment().updated(args.plan)

    parallel = ParallelSettings(args.branch_groups, args.share_weights)
    with ProgressDisplay(sys.stderr, quiet=args.quiet) as display, connected(args.device) as device:
        display.message("loading the weights")
        pipeline = start.load_pipeline(weights, device=device, plan=settings, parallel=parallel)
        start.ready()
        # torchrun passes on a Ctrl-C that the terminal has sent already
        with cancel_on_signal(patience=10.0 if launched_processes() > 1 else 0.0) as cancel:
            result = pipeline.generate(request, output, on_progress=display.update, cancel=cancel)
    if args.json:
        fields = {
            "frames": result.frames,
            "seconds": result.seconds,
            "fps": pipeline.fps,
            "seed": result.seed,
        }
        speech = None if result.speech is None else asdict(result.speech)
        print(json.dumps({"path": str(result.path), **fields, "timings": result.timings, "speech": speech}))
    else:
        spoken = f", spoken by {result.speech.engine}" if result.speech is not None else ""
        print(
            f"{result.path}: {result.frames} frames, {result.seconds:.2f} seconds, seed {result.seed}{spoken}"
        )
    return 0


def doctor_command(args: argparse.Namespace) -> int:
    """Prints what is here; fails where no video could be made."""
    if args.cold_start:
        return _cold_start(args.weights)
    if args.plans:
        from ..runtime.report import plans_table

        print(plans_table())
        return 0
    from .doctor import examine, format_findings

    findings = examine(args.weights)
    print(format_findings(findings))
    return 0 if all(finding.state != "missing" for finding in findings) else 1


def _cold_start(weights: str | None) -> int:
    """Loads the models as a worker does, and prints what the time went into."""
    from ..start.cold_start import ColdStart

    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    start = ColdStart(weights)
    pipeline = start.load_pipeline(weights)
    start.ready()
    print(f"{pipeline.folder.path}: {pipeline.plan.description}\n{start.table()}")
    return 0


@contextmanager
def cancel_on_signal(patience: float = 0.0) -> Iterator[threading.Event]:
    """An event that Ctrl-C or a termination request sets; a second Ctrl-C interrupts at once.

    Args:
        patience: Seconds after the first signal in which others are the same request.
    """
    cancel = threading.Event()
    first = 0.0

    def handle(number: int, frame: Any) -> None:
        nonlocal first
        if not cancel.is_set():
            first = time.monotonic()
            cancel.set()
        elif time.monotonic() >= first + patience:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(sentence: str, debug: bool, status: int) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {sentence}", file=sys.stderr)
    return status
