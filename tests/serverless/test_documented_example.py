"""The example of docs/SERVERLESS.md, with real files for its URLs, by ``--test_input``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.conftest import FAST, base64_of, png, wav
from tests.serverless.worker_process import ROOT, WorkerProcess

pytestmark = pytest.mark.slow


def documented_job() -> dict[str, Any]:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "SERVERLESS.md").read_text(), re.DOTALL)
    job = json.loads(blocks[0])
    fields = job["input"]
    assert fields["image"].startswith("https://")
    assert fields["audio"]["person1"].startswith("https://")
    fields["image"], fields["audio"]["person1"] = base64_of(png()), base64_of(wav(0.2))
    fields |= {**FAST, "frames_per_clip": 5, "motion_frames": 1}  # small, for small weights
    return job


def test_test_input(small_weights: Path, tmp_path: Path):
    worker = WorkerProcess(small_weights, tmp_path / "worker", ["--test_input", json.dumps(documented_job())])
    assert worker.process.wait(240) == 0, worker.log.read_text()[-2000:]
    assert "'status': 'success'" in worker.log.read_text()
    assert worker.events("job_finished")[0]["frames"] == 5
    assert worker.files() == []
