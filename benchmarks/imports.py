"""What a start costs besides weights: ``python -m benchmarks.imports``.

Starts, in turn, Python with torch alone, the worker, and the page, and prints the wall time and the CPU time
of the process until it is ready, and the CPU time as a multiple of torch's. The wall time needs a machine
without other load. The CPU time (user and system) does not, but excludes waiting for the disk. Then prints
the shares of the packages in the imports of the worker and of the page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multitalk.weights.folders import EMBEDDED_FOLDER

ROOT = Path(__file__).resolve().parents[1]
TORCH = (sys.executable, "-c", 'import torch; print(\'{"event": "cold_start"}\', flush=True); input()')
APP = (sys.executable, str(ROOT / "app.py"))
LINE = re.compile(r"import time: +(\d+) \| +\d+ \| +(\S+)")


@dataclass(frozen=True)
class Cost:
    """Seconds from the start of a process until it was ready."""

    wall: float
    cpu: float


def measure(
    command: tuple[str, ...], wait: Callable[[subprocess.Popen[str]], None], **variables: str
) -> Cost:
    """Start a process, wait until it is ready, and end it."""
    environment = os.environ | {"MULTITALK_WEIGHTS": str(EMBEDDED_FOLDER), "DEVICE": "cpu"} | variables
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment, cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            wait(process)
            return Cost(time.monotonic() - began, cpu_seconds(process.pid))
        finally:
            process.kill()


def cpu_seconds(process: int) -> float:
    """Return the user and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_event(process: subprocess.Popen[str]) -> None:
    """Wait for the worker's line that it is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{") and json.loads(line)["event"] == "cold_start":
            return
    raise SystemExit("the process ended before it was ready")


def wait_for_page(port: int) -> Callable[[subprocess.Popen[str]], None]:
    """Return a function that waits until the page is served."""

    def wait(process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    if page.read():
                        return
            except urllib.error.URLError:
                time.sleep(0.01)
        raise SystemExit("the page ended before it was open")

    return wait


def import_shares(code: str) -> Counter[str]:
    """Return the seconds of the imports of a script, by package."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    environment = os.environ | {"MULTITALK_WEIGHTS": str(EMBEDDED_FOLDER), "DEVICE": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    shares: Counter[str] = Counter()
    for microseconds, module in LINE.findall(done.stderr):
        shares[module.split(".")[0]] += int(microseconds)
    return shares


IMPORTS = {
    "worker": """
from multitalk.start.cold_start import ColdStart
from multitalk.patches.imports import narrow_runpod
start = ColdStart()
with narrow_runpod():
    import runpod
start.load_pipeline()
""",
    "page": """
from multitalk.ui.server import import_gradio
import_gradio()
import multitalk.ui.page
""",
}


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--port", type=int, default=8139)
    options = parser.parse_args(arguments)
    port, ports = options.port, ("--rp_serve_api", "--rp_api_port", str(options.port))
    costs: dict[str, list[Cost]] = {"torch": [], "worker": [], "page": []}
    with tempfile.TemporaryDirectory() as results:
        page = {"MODE": "ui", "GRADIO_SERVER_PORT": str(port), "OUTPUT_DIR": results}
        for _ in range(options.repeats):  # in turn, so that other load of the machine meets all of them
            costs["torch"].append(measure(TORCH, wait_for_event))
            costs["worker"].append(measure((*APP, *ports), wait_for_event, MODE="serverless"))
            costs["page"].append(measure(APP, wait_for_page(port), **page))
    best = {
        name: Cost(min(cost.wall for cost in each), min(cost.cpu for cost in each))
        for name, each in costs.items()
    }
    print(f"{'':8}{'wall s':>9}{'CPU s':>9}{'CPU / torch':>13}")
    for name, cost in best.items():
        print(f"{name:8}{cost.wall:>9.2f}{cost.cpu:>9.2f}{cost.cpu / best['torch'].cpu:>13.2f}")
    for name, code in IMPORTS.items():
        shares = import_shares(code)
        parts = (f"{package} {100 * part / shares.total():.0f} %" for package, part in shares.most_common(12))
        print(f"\nimports of the {name}: {', '.join(parts)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
