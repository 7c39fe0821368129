"""``multitalk doctor``: check this machine, and report what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..runtime.environment import set_defaults
from .installation_checks import (
    Finding,
    check_ffmpeg,
    check_gpus,
    check_packages,
    check_python,
    check_torch,
    one_line,
)
from .weights_checks import check_marks, check_plan, check_speech, check_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--weights", metavar="DIR", help="baked weights folder")
    add("--plans", action="store_true", help="print the hardware plan of every known GPU instead")
    add("--voices", action="store_true", help="print the voices and languages of text to speech instead")
    add("--cold-start", action="store_true", help="load the models and print the startup time instead")


def run(args: argparse.Namespace) -> int:
    """Print the report; return 1 if something is missing."""
    if args.cold_start:
        _print_startup(args.weights)
        return 0
    if args.plans:
        from ..runtime.report import plans_table

        print(plans_table())
        return 0
    if args.voices:
        print(_voices_text(args.weights))
        return 0
    missing = []
    for finding in examine(args.weights):
        print(f"{finding.state:<8}{finding.name:<9} {finding.text}", flush=True)
        if finding.state == "missing":
            missing.append(finding.name)
    print(f"Not ready: {', '.join(missing)}." if missing else "Ready to generate videos.")
    return 1 if missing else 0


def _voices_text(weights: str | None) -> str:
    """Return the names of the voices and the codes of the languages."""
    from ..runtime.environment import find_weights
    from ..speech.languages import title_of
    from ..speech.speak import choose_engine

    engine = choose_engine(find_weights(weights))
    languages = ", ".join(f"{code} ({title_of(engine, code)})" for code in engine.languages())
    return f"{engine.name}'s voices: {', '.join(engine.voices())}\n{engine.name}'s languages: {languages}"


def _print_startup(weights: str | None) -> None:
    """Load the models as a worker does, and print the stages of the startup."""
    from ..start.cold_start import ColdStart

    set_defaults(DIFFUSERS_VERBOSITY="error")
    start = ColdStart(weights)
    pipeline = start.load_pipeline(weights)
    start.ready()
    print(f"{pipeline.folder.path}: {pipeline.plan.description}\n{start.table()}")


def examine(weights: str | Path | None = None) -> Iterator[Finding]:
    """Check everything that a job needs, and yield each finding as soon as it is known; never raises.

    Args:
        weights: A baked weights folder; None searches.
    """
    checks: list[Callable[[], list[Finding]]] = [
        check_python,
        check_torch,
        check_gpus,
        partial(check_plan, weights),
        check_ffmpeg,
        partial(check_weights, weights),
        partial(check_speech, weights),
        check_marks,
        check_packages,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken installation can fail in any way, which is a finding as well
            name = _name_of(check)
            yield Finding("missing", name, f"{type(error).__name__}: {one_line(error)}")


def _name_of(check: Callable[[], list[Finding]]) -> str:
    function = check.func if isinstance(check, partial) else check
    return getattr(function, "__name__", "check").removeprefix("check_")
