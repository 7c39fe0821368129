"""The form's LoRAs: what becomes of their files and names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from multitalk.errors import InvalidInput
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.parts import LoraSpec
from multitalk.request.presets import PRESETS
from multitalk.ui.api_request import find_uploaded, with_uploaded_loras
from multitalk.ui.job import Job
from multitalk.ui.job_store import JobStore
from multitalk.ui.jobs import JobQueue
from multitalk.ui.loras import MOST, chosen_loras, kept_loras, lora_choices, lora_paths, restored_loras
from tests.ui.requests import no_lora, small_request
from tests.waiting import wait_until


def entry(name: str = "a.safetensors", path: str | None = None, strength: Any = 1.0) -> dict[str, Any]:
    return {"name": name, "path": path, "strength": strength}


def make_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"blocks.0.self_attn.q.diff": torch.ones(2)}, path)
    return path


def test_chosen_loras_are_files_with_strengths():
    value = [entry(strength=0.5), entry("b.safetensors", "/up/b.safetensors")]
    assert chosen_loras(value, lambda name: Path("/weights/loras") / name) == [
        {"path": "/weights/loras/a.safetensors", "scale": 0.5},
        {"path": "/up/b.safetensors", "scale": 1.0},
    ]
    assert lora_paths(value) == ["/up/b.safetensors"]
    assert chosen_loras(None, no_lora) == chosen_loras([], no_lora) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([entry(strength=2.5)], "Strength of a.safetensors must be a number from 0 to 2, not 2.5"),
        ([entry(strength=None)], "Strength of a.safetensors must be"),
        ([entry(path=3)], "LoRA: 3 is not a file"),
        (["x"], "LoRA: 'x' is not valid"),
        ({"path": "/etc/passwd"}, "is not valid"),
        ([entry(f"{n}.safetensors") for n in range(MOST + 1)], f"at most {MOST} are possible"),
    ],
)  # fmt: skip
def test_invalid_loras_are_refused_beside_their_field(value, words):
    with pytest.raises(InvalidInput, match=words) as error:
        chosen_loras(value, lambda name: Path(name))
    assert error.value.field == "lora"


def test_kept_loras_are_checked():
    own = entry("b.safetensors", "/up/b.safetensors", 0.5)
    value = [entry(), own, entry("c.safetensors", "/up/of another browser"), entry(strength="x")]
    assert kept_loras(value, lambda path: path == own["path"]) == [entry(), own]
    assert [kept_loras(junk, bool) for junk in (None, 3, "x", {}, [[]], [{"name": 1}])] == [[]] * 6


def test_restored_loras_are_those_of_the_weights():
    loras = [("a.safetensors", 0.5), ("own.safetensors", 1.0), ("b.safetensors", -1.0)]
    found, missing = restored_loras(loras, ["a.safetensors", "b.safetensors"])
    assert found == [entry(strength=0.5)]
    assert missing == ["own.safetensors (strength 1)", "b.safetensors (strength -1)"]


def test_the_lora_of_a_preset_is_marked():
    name = str(PRESETS["fusionx"].lora)
    choices = lora_choices(["a.safetensors", name], PRESETS.values())
    assert choices == [
        {"name": "a.safetensors", "note": ""},
        {"name": name, "note": "part of preset FusionX"},
    ]


def with_lora(path: Path) -> GenerationRequest:
    return small_request().model_copy(update={"lora": (LoraSpec(path=path, scale=0.5),)})


def test_a_waiting_job_keeps_its_uploaded_lora(tmp_path):
    """Uploads are deleted after a day, and to make room."""
    upload = make_file(tmp_path / "uploads" / "hash" / "own.safetensors")
    content = upload.read_bytes()
    seen = []

    def run(job: Job) -> bool:
        assert job.request is not None
        seen.extend((lora.path.name, lora.scale, lora.path.read_bytes()) for lora in job.request.lora)
        return True

    queue = JobQueue(tmp_path / "jobs", lambda: None, run, uploads=tmp_path / "uploads")
    job = queue.submit(with_lora(upload), "one", "anna")
    cancelled = queue.submit(with_lora(upload), "two", "anna")
    of_weights = make_file(tmp_path / "weights" / "w.safetensors")
    unchanged = queue.submit(with_lora(of_weights), "three", "anna")
    assert unchanged.request is not None
    assert unchanged.request.lora[0].path == of_weights
    queue.cancel(cancelled)
    upload.unlink()
    assert [path.name for path in (tmp_path / "jobs").rglob("*.safetensors")] == ["own.safetensors"]
    queue.start()
    wait_until(lambda: job.is_over and unchanged.is_over)
    assert seen[0] == ("own.safetensors", 0.5, content)
    assert not list((tmp_path / "jobs").rglob("*.safetensors")), "the disk is free again"
    queue.close(10)


def test_a_waiting_job_keeps_its_uploaded_lora_over_a_restart(tmp_path):
    temporary = tmp_path / "temporary"
    upload = make_file(temporary / "uploads" / "hash" / "own.safetensors")
    content = upload.read_bytes()

    def queue_of(run: Any = None) -> JobQueue:
        store = JobStore(tmp_path / "results" / ".jobs", temporary=temporary)
        return JobQueue(temporary / "jobs", lambda: None, run, store=store, uploads=temporary / "uploads")

    queue_of().submit(with_lora(upload), "one", "anna")
    for folder, _, names in os.walk(temporary):
        for name in names:
            os.unlink(Path(folder) / name)
    seen = []

    def run(job: Job) -> bool:
        assert job.request is not None
        seen.extend((lora.path.name, lora.scale, lora.path.read_bytes()) for lora in job.request.lora)
        return True

    again = queue_of(run)
    job = again.latest("anna")
    assert job is not None
    again.start()
    wait_until(lambda: job.is_over)
    assert seen == [("own.safetensors", 0.5, content)], job.error
    assert not list((tmp_path / "results").rglob("*.safetensors"))
    again.close(10)


def test_an_upload_that_is_gone_is_said(tmp_path):
    upload = make_file(tmp_path / "uploads" / "own.safetensors")
    request = with_lora(upload)
    upload.unlink()
    queue = JobQueue(tmp_path / "jobs", lambda: None, lambda job: True, uploads=tmp_path / "uploads")
    with pytest.raises(InvalidInput, match="no longer on the server"):
        queue.submit(request, "one", "anna")


def test_errors_about_a_lora_name_no_folder(tmp_path):
    upload = make_file(tmp_path / "my uploads" / "own.safetensors")

    def run(job: Job) -> bool:
        assert job.request is not None
        raise InvalidInput(f"LoRA file {job.request.lora[0].path} is for another model.", "lora")

    queue = JobQueue(tmp_path / "my jobs", lambda: None, run, uploads=tmp_path / "my uploads")
    job = queue.submit(with_lora(upload), "one", "anna")
    queue.start()
    wait_until(lambda: job.is_over)
    assert job.error == "LoRA file own.safetensors is for another model."
    queue.close(10)


def test_uploaded_loras_of_a_call():
    uploads = ["/up/1/a.safetensors", "/up/2/b.safetensors"]
    settings = {"lora": [{"path": "a.safetensors", "scale": 0.5}, "w.safetensors"], "steps": 4}
    assert with_uploaded_loras(settings, uploads) == {
        "lora": [*settings["lora"], "b.safetensors"], "steps": 4,
    }  # fmt: skip
    assert with_uploaded_loras(None, uploads) == {"lora": ["a.safetensors", "b.safetensors"]}
    assert with_uploaded_loras("junk", uploads) == "junk"
    assert with_uploaded_loras(None, []) is None
    find = lambda name: Path("/weights") / str(name)  # noqa: E731
    assert find_uploaded(uploads, find, "a.safetensors") == Path("/up/1/a.safetensors")
    assert find_uploaded(uploads, find, "w.safetensors") == Path("/weights/w.safetensors")
