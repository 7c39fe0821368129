"""The start: what is read and imported, in which mode, and the table that says so."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from multitalk.start.cold_start import ColdStart, process_age
from multitalk.weights.folders import EMBEDDED_FOLDER, PARTS, all_part_files
from tests.fresh_process import ROOT, run_script

EMBEDDED = {"MULTITALK_WEIGHTS": str(EMBEDDED_FOLDER), "DEVICE": "cpu"}
EMBEDDED_BYTES = sum(path.stat().st_size for path in all_part_files(EMBEDDED_FOLDER))


# Begins as app.py does and stops short of RunPod's loop.
SERVERLESS = """
import json, sys
import app
early = {name for name in ("torch", "diffusers", "transformers", "gradio", "runpod") if name in sys.modules}
from multitalk.start.cold_start import ColdStart
start = ColdStart()
without_torch = "torch" not in sys.modules and start.read_ahead.total > 0
import runpod
loaded = {}
def stop(config):
    loaded.update(config)
runpod.serverless.start = stop
sys.argv = ["app.py", "--rp_serve_api"]
from multitalk.serverless.server import serve
assert serve(start) == 0 and "handler" in loaded
heavy = "gradio cv2 scipy sklearn pandas librosa.core skimage.color numba spacy".split()
heavy = [name for name in heavy if name in sys.modules]
print("IMPORTED", json.dumps([sorted(early), without_torch, heavy]))
import scipy.spatial, librosa, skimage.color
librosa.resample  # its own import is lazy, and finds scipy again
"""


def test_the_worker_imports_no_page_and_nothing_before_its_time():
    lines = run_script(SERVERLESS, MODE="serverless", **EMBEDDED).splitlines()
    imported = next(line for line in lines if line.startswith("IMPORTED"))
    early, without_torch, heavy = json.loads(imported.removeprefix("IMPORTED"))
    assert early == []
    assert without_torch
    assert heavy == []
    events = [json.loads(line) for line in lines if line.startswith("{")]
    event = next(entry for entry in events if entry["event"] == "cold_start")
    steps = {step["name"]: step for step in event["steps"]}
    assert {"interpreter", "import torch", "import models", "import runpod", "read files", *PARTS} <= set(
        steps
    )
    assert sum(steps[part]["bytes"] for part in PARTS) == steps["read files"]["bytes"] == EMBEDDED_BYTES
    assert all(0 <= step["began"] <= event["ready_after"] for step in event["steps"])
    assert any("transformer" in line for line in event["table"])


def test_doctor_prints_the_table():
    done = subprocess.run(
        [sys.executable, "-m", "multitalk", "doctor", "--cold-start", "--weights", str(EMBEDDED_FOLDER)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    names = [line.split("  ")[0] for line in lines]
    for name in ("interpreter", "import torch", "import models", "read files", *PARTS):
        assert name in names, done.stdout
    assert lines[-1].startswith("ready after ")


def test_no_weights_is_said_by_what_loads_them(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "multitalk", "doctor", "--cold-start", "--weights", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "doesn't exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_steps_are_told_in_their_order():
    start = ColdStart(EMBEDDED_FOLDER)
    with start.step("outer"), start.step("inner", 2_000_000_000):
        time.sleep(0.01)
    start.ready()
    names = [step.name for step in start.steps]
    assert names.index("interpreter") < names.index("outer") < names.index("inner")
    line = next(line for line in start.table().splitlines() if line.startswith("inner"))
    assert line.split()[3] == "2.000", line
    assert start.ready_after is not None
    assert process_age() >= start.ready_after - 1  # counted from the process's begin


def test_a_step_that_fails_is_told_too():
    start = ColdStart(EMBEDDED_FOLDER)
    with pytest.raises(KeyError), start.step("broken"):
        raise KeyError
    assert "broken" in start.table()
