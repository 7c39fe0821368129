"""``torchrun ... -m multitalk generate``: the video of one process, and no files after a failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from multitalk.bake.bake import bake
from tests.small_checkpoint import Sizes, make_small_checkpoint

from .processes import REPOSITORY

pytestmark = pytest.mark.slow
Start = Callable[..., "subprocess.Popen[str]"]
SECONDS = 240  # mostly for imports, on a busy machine


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a job with two clips and two guidance branches, one for each of two processes."""
    folder = tmp_path_factory.mktemp("job")
    bake(make_small_checkpoint(folder / "raw", Sizes(heads=4)), folder / "weights", precision="float32")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (90, 160, 3), np.uint8)).save(folder / "face.png")
    soundfile.write(folder / "voice.wav", random.normal(0, 0.1, 16000), 16000)
    fields = {"size": [64, 80], "steps": 2, "frames_per_clip": 21, "motion_frames": 5}
    fields |= {"text_guidance": 1, "audio_guidance": 2, "image": "face.png", "audio": "voice.wav"}
    (folder / "job.json").write_text(json.dumps(fields))
    return ["generate", "--request", str(folder / "job.json"), "--weights", str(folder / "weights")]


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts the command, with torchrun in two processes; they are killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start_one(
        *arguments: str, processes: int = 2, module: tuple[str, ...] = ("multitalk",)
    ) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        launcher = torchrun if processes > 1 else []
        command = [sys.executable, *launcher, "-m", *module, *arguments, "--device", "cpu"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        started.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start_one
    for process in started:
        kill_tree(process)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a launcher that still runs and its processes; torchrun starts each in its own session."""
    tree: list[psutil.Process] = []
    if process.poll() is None:
        launcher = psutil.Process(process.pid)
        launcher.suspend()  # so that it starts no process meanwhile
        tree = [*launcher.children(recursive=True), launcher]
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    with process:  # closes its pipes and waits for it
        pass
    psutil.wait_procs(tree, timeout=10)


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_video_of_two_processes_is_that_of_one(start: Start, job: list[str], tmp_path: Path) -> None:
    two = start(*job, "-o", str(tmp_path / "two.mp4"), "--json")
    one = start(*job, "-o", str(tmp_path / "one.mp4"), "--quiet", processes=1)
    output, errors = two.communicate(timeout=SECONDS)
    assert two.returncode == 0, errors[-2000:]
    assert one.wait(timeout=SECONDS) == 0
    result = json.loads(output)  # only process 0 prints
    assert result["frames"] == 25
    assert errors.count("denoise  clip 2/2") == 1
    # products of half the tokens may round differently, depending on the processor
    difference = frames_of(tmp_path / "one.mp4").astype(int) - frames_of(tmp_path / "two.mp4")
    assert np.square(difference).mean() < 255**2 / 10**4, "a PSNR of 40 dB"
    assert sorted(os.listdir(tmp_path)) == ["one.mp4", "two.mp4"]


def test_a_killed_process_ends_the_other(start: Start, job: list[str], tmp_path: Path) -> None:
    process = start(*job, "--set", "steps=200", "-o", str(tmp_path / "out.mp4"))
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "denoise" in line and len(lines) < 20:
            followers = [
                child
                for child in psutil.Process(process.pid).children()
                if child.environ().get("RANK") == "1"
            ]
            assert len(followers) == 1
            followers[0].send_signal(signal.SIGKILL)
    assert process.wait(timeout=SECONDS) != 0
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: process 1 ended without a reason")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("point", ["connecting", "between steps"])
def test_the_end_of_a_process_is_reported_wherever_the_other_one_is(
    start: Start, job: list[str], tmp_path: Path, point: str
) -> None:
    module = ("tests.parallel.dying_follower", point)
    process = start(*job, "-o", str(tmp_path / "out.mp4"), module=module)
    _, errors = process.communicate(timeout=SECONDS)
    reported = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert reported == ["error: process 1 ended without a reason. See its own output."]
    assert process.returncode != 0
    assert os.listdir(tmp_path) == []


def test_an_invalid_request_is_reported_once(start: Start, job: list[str], tmp_path: Path) -> None:
    process = start(*job, "--set", "steps=0", "-o", str(tmp_path / "out.mp4"))
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert output == ""
    assert errors.count("error: --set steps must be ") == 1
    assert os.listdir(tmp_path) == []
