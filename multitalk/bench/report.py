"""The bench's result for people: a table, and two runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

HEADER = ("stage", "seconds", "share", "TFLOP/s", "of matmul", "of copy", "peak GB")


def table(result: dict[str, Any]) -> str:
    """A run as text."""
    options, plan, steps = result["options"], result["plan"], result["steps"]
    shape = f"{options['frames']} frames of {options['height']}x{options['width']}"
    people = "one person" if options["people"] == 1 else "two people"
    skipped = (
        f", {steps['computed']} of them computed" if steps["computed"] not in (None, steps["all"]) else ""
    )
    ceilings = result["ceilings"]
    matmul = ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in ceilings["matmul"].items())
    lines = [
        f"{result['device']}, torch {result['torch']}, {result['threads']} threads: {plan['description']}",
        f"{options['clips']} x {shape}, {people}, {options['preset']}, {steps['all']} steps{skipped}",
        f"at best: matrix products {matmul} TFLOP/s, copies {ceilings['copy'] / 1e9:.4g} GB/s (measured)",
        "",
        f"{HEADER[0]:<10}" + "".join(f"{name:>11}" for name in HEADER[1:]),
    ]
    for stage in result["stages"]:
        lines.append(
            f"{stage['stage']:<10}{stage['seconds']:>11.4f}{stage['share']:>11.1%}{stage['tflops']:>11.4g}"
            f"{stage['of_matmul']:>11.1%}{stage['of_copy']:>11.1%}{stage['peak_bytes'] / 1e9:>11.2f}"
        )
    lines.append(f"{'all':<10}{result['seconds']:>11.4f}")
    return "\n".join(lines)


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Two runs stage by stage, and in what they differ."""
    lines = [f"{'stage':<10}{'first':>11}{'second':>11}{'ratio':>9}"]
    later = {stage["stage"]: stage["seconds"] for stage in second["stages"]}
    rows = [(stage["stage"], stage["seconds"], later.get(stage["stage"])) for stage in first["stages"]]
    for name, before, after in [*rows, ("all", first["seconds"], second["seconds"])]:
        if after is None:
            lines.append(f"{name:<10}{before:>11.4f}{'-':>11}{'-':>9}")
            continue
        ratio = f"{after / before:>9.3f}" if before else f"{'-':>9}"
        lines.append(f"{name:<10}{before:>11.4f}{after:>11.4f}{ratio}")
    differences = [
        f"{name}: {first.get(name)} and {second.get(name)}"
        for name in ("device", "torch", "threads")
        if first.get(name) != second.get(name)
    ]
    options = {**first["options"], **second["options"]}
    for name in options:
        before, after = first["options"].get(name), second["options"].get(name)
        if before != after:
            differences.append(f"{name}: {before} and {after}")
    return "\n".join([*lines, *(f"differs in {difference}" for difference in differences)])


def read(path: str) -> dict[str, Any]:
    """A run's JSON file.

    Raises:
        InvalidInput: It can't be read, or isn't one.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        if not {"stages", "seconds", "options"} <= result.keys():
            raise ValueError("it lacks stages, seconds or options")
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path!r} is no result of the bench: {reason}.", "compare") from None
    return result
