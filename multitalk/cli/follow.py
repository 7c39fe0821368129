"""A command in several processes of torchrun: the part of the processes other than 0."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

from ..errors import Cancelled, InvalidInput, WeightsError
from ..parallel.launch import connected

# torchrun stops all processes as soon as one fails: process 0, which prints the error, must fail first
EXIT_DELAY_SECONDS = 3.0


def follow_command(argv: list[str] | None = None) -> int:
    """Take part in the command of process 0 without output.

    Args:
        argv: The arguments, the same in all processes; None uses those of the process.

    Returns:
        The exit status.
    """
    debug = "--debug" in (sys.argv if argv is None else argv)
    if not debug:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    try:
        status = _follow(argv)
    except SystemExit as error:  # invalid arguments, or --help
        status = int(error.code or 0)
    except Cancelled:
        status = 130
    except (InvalidInput, WeightsError):
        status = 2
    except BaseException:
        traceback.print_exc()
        status = 1
    if status:
        time.sleep(EXIT_DELAY_SECONDS)
    return status


def _follow(argv: list[str] | None) -> int:
    from . import generate
    from .main import build_parser

    args = build_parser().parse_args(argv)
    if args.command is not generate.run:
        return 0  # process 0 runs the other commands alone
    with connected(args.device) as device:
        # process 0 handles the signals: it cancels the job in all processes
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        from ..parallel.follower import Follower
        from ..parallel.loading import load_pipeline
        from ..runtime.settings import PlanSettings

        plan = PlanSettings.from_environment().updated(args.plan)
        pipeline = load_pipeline(args.weights, device, plan=plan)
        assert isinstance(pipeline, Follower)
        pipeline.follow_job()
        pipeline.team.watch.stop()
    return 0
