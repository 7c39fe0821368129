"""``multitalk generate``: generate a video."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import MultiTalkError
from ..parallel.launch import connected, launched_processes
from ..parallel.layout import ParallelSettings
from ..runtime.environment import set_defaults
from .fields import add_request_arguments, check_complete, options_in_errors, request_fields
from .progress_display import ProgressDisplay

if TYPE_CHECKING:
    from pathlib import Path

    from ..pipeline.results import GenerationResult, OnPreview


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_request_arguments(parser)
    add = parser.add_argument
    add("-o", "--output", metavar="OUT.mp4", required=True, help="video file to write")
    add("--last-frame", metavar="OUT.png", help="also write the last frame, with the same marks, as an image")
    add("--weights", metavar="DIR", help="baked weights folder")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: the first GPU, or the CPU)")
    add(
        "--plan",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="override a choice of the hardware plan, such as streamed_blocks=10 (repeatable)",
    )
    add(
        "--branch-groups",
        metavar="NUMBER",
        type=int,
        help="with torchrun: number of process groups that compute different guidance branches",
    )
    add(
        "--share-weights",
        action=argparse.BooleanOptionalAction,
        help="with torchrun: each process stores only its part of the transformer's weights "
        "(default: if they do not fit on one GPU)",
    )
    add("--quiet", action="store_true", help="do not show progress")
    add("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Generate a video and print one line about it."""
    from ..marks.settings import check_marks
    from ..media.video import check_target
    from ..request.build import build_request

    check_marks()
    fields = request_fields(args)
    check_complete(fields)
    with options_in_errors(args):
        request = build_request(fields)
    output = check_target(args.output)
    frame = None if args.last_frame is None else check_target(args.last_frame, ".png", "--last-frame")

    # imported here: torch and the models' libraries take seconds, which an invalid request must not wait for
    set_defaults(DIFFUSERS_VERBOSITY="error")  # its messages are for developers
    from ..runtime.environment import find_weights
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
        # torchrun forwards a Ctrl-C that the terminal has already sent to this process
        patience = 10.0 if launched_processes() > 1 else 0.0
        with (
            cancel_on_signal(patience) as cancel,
            options_in_errors(args),
            preview_file(output) as on_preview,
        ):
            result = pipeline.generate(
                request, output, on_progress=display.update, cancel=cancel, on_preview=on_preview
            )
    if frame is not None and result.last_frame is not None:
        from ..media.xmp import save_png

        try:
            save_png(result.last_frame, frame)
        except OSError as error:
            raise MultiTalkError(
                f"--last-frame {str(frame)!r} cannot be written: {error.strerror}."
            ) from None
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(_as_json(result, pipeline.fps) if args.json else _as_text(result))
    return 0


@contextmanager
def preview_file(output: Path) -> Iterator[OnPreview]:
    """Provide a function that writes the latest preview beside the output; removed at the end."""
    from ..media.fragments import write_preview

    path = output.with_suffix(".preview.mp4")
    try:
        yield lambda preview: write_preview(preview, path)
    finally:
        path.unlink(missing_ok=True)


def _as_json(result: GenerationResult, fps: int) -> str:
    fields = {
        "path": str(result.path),
        "frames": result.frames,
        "seconds": result.seconds,
        "fps": fps,
        "seed": result.seed,
        "model": result.model,
        "timings": result.timings,
        "speech": None if result.speech is None else asdict(result.speech),
        "warnings": result.warnings,
        "marks": result.marks,
        "signed_by": result.signed_by,
        "watermark": result.watermark,
    }
    return json.dumps(fields)


def _as_text(result: GenerationResult) -> str:
    text = f"{result.path}: {result.frames} frames, {result.seconds:.2f} seconds, seed {result.seed}"
    text += f", {result.model}"
    if result.marks:
        text += f", marked as made by AI ({', '.join(result.marks)}), signed by {result.signed_by}"
    return text if result.speech is None else f"{text}, spoken by {result.speech.engine}"


@contextmanager
def cancel_on_signal(patience: float = 0.0) -> Iterator[threading.Event]:
    """Provide an event that Ctrl-C or SIGTERM sets; a second signal interrupts at once.

    Args:
        patience: Seconds after the first signal in which further signals are ignored.
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
