"""Startup: the files that are read, the imports of each mode, and the table of the stages."""

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


# Starts as app.py does and returns before RunPod's loop.
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
librosa.resample  # a lazy import, which must find scipy again
"""


def test_the_worker_imports_no_page_and_no_models_before_reading_starts():
    lines = run_script(SERVERLESS, MODE="serverless", **EMBEDDED).splitlines()
    imported = next(line for line in lines if line.startswith("IMPORTED"))
    early, without_torch, heavy = json.loads(imported.removeprefix("IMPORTED"))
    assert early == []
    assert without_torch
    assert heavy == []
    events = [json.loads(line) for line in lines if line.startswith("{")]
    event = next(entry for entry in events if entry["event"] == "cold_start")
    stages = {stage["name"]: stage for stage in event["stages"]}
    imports = {"import torch", "import models", "import runpod"}
    assert {"interpreter", *imports, "read files", *PARTS} <= set(stages)
    assert sum(stages[part]["bytes"] for part in PARTS) == stages["read files"]["bytes"] == EMBEDDED_BYTES
    assert all(0 <= stage["start"] <= event["ready_after"] for stage in event["stages"])
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


def test_missing_weights_are_reported_when_they_are_loaded(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "multitalk", "doctor", "--cold-start", "--weights", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_stages_are_in_order():
    start = ColdStart(EMBEDDED_FOLDER)
    with start.stage("outer"), start.stage("inner", 2_000_000_000):
        time.sleep(0.01)
    start.ready()
    names = [stage.name for stage in start.stages]
    assert names.index("interpreter") < names.index("outer") < names.index("inner")
    line = next(line for line in start.table().splitlines() if line.startswith("inner"))
    assert line.split()[3] == "2.000", line
    assert start.ready_after is not None
    assert process_age() >= start.ready_after - 1  # counted from the start of the process


def test_a_failed_stage_is_in_the_table():
    start = ColdStart(EMBEDDED_FOLDER)
    with pytest.raises(KeyError), start.stage("broken"):
        raise KeyError
    assert "broken" in start.table()
