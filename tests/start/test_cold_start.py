"""Startup: the files that are read, the imports of each mode, and the table of the stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from multitalk.bake.bake import bake
from multitalk.start.cold_start import ColdStart, process_age
from multitalk.weights.folders import EMBEDDED_FOLDER, PARTS, all_part_files, audio_layer_files
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
from multitalk.serverless import fitness
loaded, checks = {}, fitness.fitness_checks
def checks_before_the_loop(*arguments):
    import runpod
    runpod.serverless.start = loaded.update
    return checks(*arguments)
fitness.fitness_checks = checks_before_the_loop
sys.argv = ["app.py", "--rp_serve_api"]
from multitalk.serverless.server import serve
assert serve(start) == 0 and "handler" in loaded
print("IMPORTED", json.dumps([sorted(early), without_torch, sorted(sys.modules)]))
import pyloudnorm  # which must find scipy again
"""


# Packages and modules that no video needs, although libraries import them if nothing prevents it.
UNUSED = {
    *("gradio", "cv2", "scipy", "sklearn", "pandas", "accelerate", "numba", "librosa", "spacy"),
    *("skimage", "transformers", "torch._dynamo", "torch._inductor", "torch.distributed.tensor"),
    *("sympy", "paramiko", "cpuinfo", "diffusers.pipelines"),
    "diffusers.hooks.first_block_cache",
}
# All modules of these packages that are imported: Wan's, and what they import.
USED = {
    "diffusers.models.transformers": {"dual_transformer_2d", "transformer_2d", "transformer_wan"},
    "diffusers.models.autoencoders": {"autoencoder_kl_wan", "vae"},
}


def test_the_worker_imports_no_page_and_no_models_before_reading_starts():
    lines = run_script(SERVERLESS, MODE="serverless", **EMBEDDED).splitlines()
    imported = next(line for line in lines if line.startswith("IMPORTED"))
    early, without_torch, modules = json.loads(imported.removeprefix("IMPORTED"))
    assert early == []
    assert without_torch
    assert [name for name in modules if name.split(".")[0] in UNUSED or name in UNUSED] == []
    for package, used in USED.items():
        loaded = {name for name in modules if name.startswith(f"{package}.") and name.count(".") == 3}
        assert {name.removeprefix(f"{package}.") for name in loaded} == used
    events = [json.loads(line) for line in lines if line.startswith("{")]
    event = next(entry for entry in events if entry["event"] == "cold_start")
    stages = {stage["name"]: stage for stage in event["stages"]}
    imports = {"import torch", "import models", "import runpod"}
    assert {"interpreter", *imports, "read files", *PARTS} <= set(stages)
    assert sum(stages[part]["bytes"] for part in PARTS) == stages["read files"]["bytes"] == EMBEDDED_BYTES
    assert all(0 <= stage["start"] <= event["ready_after"] for stage in event["stages"])
    assert any("transformer" in line for line in event["table"])


LOADED = """
import sys
from multitalk.start.cold_start import ColdStart
ColdStart().load_pipeline()
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_quantized_weights_load_without_the_compiler(published, tmp_path, precision):
    """Operations of quantized layers on the meta device import torch._dynamo, which takes seconds."""
    bake(published, tmp_path / "weights", precision=precision)
    environment = {"MULTITALK_WEIGHTS": str(tmp_path / "weights"), "DEVICE": "cpu"}
    assert run_script(LOADED, **environment).strip() == "False"


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


def test_other_models_audio_layers_are_prefetched_when_it_is_ready(baked):
    start = ColdStart(baked)
    files = audio_layer_files(baked)
    assert len(files) == 2
    assert not any(start.read_ahead.has(path) for path in files)  # they would delay the startup
    start.ready()
    layers = start._audio_layers
    for path in files:
        layers.wait(path, 0, path.stat().st_size)
    assert layers.bytes_read == layers.total == sum(path.stat().st_size for path in files)


def test_a_failed_stage_is_in_the_table():
    start = ColdStart(EMBEDDED_FOLDER)
    with pytest.raises(KeyError), start.stage("broken"):
        raise KeyError
    assert "broken" in start.table()


# Makes a video with a cache, which needs the modules that the start has left out, and compiles a function.
FIRST_USE = """
import sys
from multitalk.start.cold_start import ColdStart
from multitalk.request.generation_request import GenerationRequest
pipeline = ColdStart().load_pipeline()
assert "torch._dynamo" not in sys.modules
request = {"image": "examples/one_person.png", "speech": {"text": "Hello."}, "size": (64, 64), "steps": 2}
request |= {"frames_per_clip": 5, "motion_frames": 1, "max_seconds": 0.2}
for cache in (None, {"name": "first_block"}):
    pipeline.generate(GenerationRequest(**request, cache=cache), sys.argv[1])
import torch
from transformers import AlbertConfig, AlbertModel  # Kokoro's
from diffusers import AutoencoderKLWan
assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(2)).tolist() == [1, 1]
print("MADE", *(name in sys.modules for name in ("torch._dynamo", "diffusers.hooks.mag_cache")))
"""


@pytest.mark.slow
def test_what_the_start_leaves_out_is_imported_at_its_first_use(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, str(tmp_path / "video.mp4")],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | EMBEDDED,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "MADE True True"
    assert (tmp_path / "video.mp4").stat().st_size > 1000
