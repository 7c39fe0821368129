"""A command that torchrun starts in several processes: what those other than 0 do."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

from ..errors import Cancelled, InvalidInput, ProcessFailed, WeightsError
from ..parallel.launch import connected

# torchrun ends all processes as soon as one has failed: process 0, which speaks for all, is to be faster
LAST_WORD_SECONDS = 3.0


def follow_command(argv: list[str] | None = None) -> int:
    """Take part in process 0's command, in silence.

    Args:
        argv: The arguments, the same in all processes; None takes the process's.

    Returns:
        The exit status.
    """
    debug = "--debug" in (sys.argv if argv is None else argv)
    if not debug:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    try:
        status = _follow(argv)
    except SystemExit as leaving:  # an argument is wrong, or help was asked for
        status = int(leaving.code or 0)
    except Cancelled:
        status = 130
    except (InvalidInput, WeightsError):
        status = 2
    except BaseException:
        traceback.print_exc()
        status = 1
    if status:
        time.sleep(LAST_WORD_SECONDS)
    return status


def _follow(argv: list[str] | None) -> int:
    from .main import build_parser, generate_command

    args = build_parser().parse_args(argv)
    if args.command is not generate_command:
        return 0  # the others are for process 0 alone
    with connected(args.device) as device:
        # cancelling is process 0's: it tells the others, and what is left behind is in order
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        from ..parallel.loading import load_in_team
        from ..parallel.pipelines import FollowingPipeline
        from ..runtime.settings import PlanSettings

        plan = PlanSettings.from_environment().updated(args.plan)
        pipeline = load_in_team(args.weights, device, None, plan, None)
        if not isinstance(pipeline, FollowingPipeline):
            raise ProcessFailed("torchrun gave two processes the number 0.")
        pipeline.follow_job()
        pipeline.team.watch.stop()
    return 0
