"""A worker behind the SDK's local API server: every kind of job, failures in between, many in a row."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multitalk.media.admission import BUSY
from multitalk.media.sound_reading import read_sound
from tests.media.hostile import silent_flac
from tests.process_state import peak_memory_of
from tests.serverless.conftest import base64_of, client_settings, decoded, frame_count, job_fields, png, wav
from tests.serverless.test_documented_example import documented_job
from tests.serverless.worker_process import LocalServer, run_client

pytestmark = pytest.mark.slow
TINY = {"frames_per_clip": 5, "motion_frames": 1}
ANSWER = {
    *["status", "video_base64", "filename", "seed", "frames", "seconds", "fps", "width", "height", "timings"],
    *["marks", "signed_by", "watermark"],
}


@pytest.fixture(scope="module")
def input_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    (folder / "face.png").write_bytes(png())
    (folder / "voice.wav").write_bytes(wav(0.2))
    return folder


@pytest.fixture(scope="module")
def server(small_weights, input_root, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    worker = LocalServer(small_weights, tmp_path_factory.mktemp("local"), {"INPUT_ROOTS": str(input_root)})
    worker.wait_until_ready()
    yield worker
    worker.stop()


def run(server: LocalServer, fields: dict) -> dict:
    answer = server.post("runsync", fields)
    assert answer["status"] == "COMPLETED", answer
    return answer["output"]


def test_one_person(server):
    output = run(server, job_fields(1.0, seed=7, **TINY, color_correction=0.5))
    assert set(output) == ANSWER
    assert (output["status"], output["seed"], output["frames"], output["fps"]) == ("success", 7, 25, 25)
    assert (output["width"], output["height"], output["seconds"]) == (64, 64, 1.0)
    assert frame_count(decoded(output)) == 25
    assert abs(read_sound(decoded(output)).seconds - 1.0) < 0.05
    assert {"encode", "denoise", "decode", "total"} <= set(output["timings"])


def test_two_people_with_boxes_and_turns(server):
    audio = {"person1": base64_of(wav(0.4)), "person2": base64_of(wav(0.2, seed=1))}
    boxes = {"person1": [0, 0, 40, 60], "person2": [50, 0, 90, 60]}
    output = run(server, job_fields(audio=audio, boxes=boxes, turns="in_order", **TINY))
    assert output["frames"] == frame_count(decoded(output)) == 15


def test_words_instead_of_a_sound(server):
    fields = job_fields(speech="Good morning to you.", max_seconds=0.2, **TINY)
    del fields["audio"]
    output = run(server, fields)
    assert output["frames"] == 5
    assert not read_sound(decoded(output)).is_silent()


def test_a_client_of_the_known_worker_gets_what_it_expects(server):
    output = run(
        server,
        {
            "prompt": "Two people talk.",
            "image_path": f"data:image/png;base64,{base64_of(png())}",
            "audio_paths": {"person1": base64_of(wav(0.2)), "person2": base64_of(wav(0.2, seed=1))},
            "audio_type": "add",
            "sample_steps": "2",
            "sample_text_guide_scale": 1.0,
            "sample_audio_guide_scale": "2.0",
            "mode": "clip",
            "size": [64, 64],
            **TINY,
        },
    )
    assert (output["status"], output["filename"]) == ("success", "generated_video")
    assert output["frames"] == frame_count(decoded(output)) == 5, "mode clip: one clip of 0.4 seconds' sound"


def test_files_by_path_and_the_same_job_by_run_and_status(server, input_root):
    paths = {"image": f"{input_root}/face.png", "audio": f"{input_root}/voice.wav"}
    job = server.post("run", job_fields(**paths, **TINY))
    answer = server.post(f"status/{job['id']}")
    assert answer["status"] == "COMPLETED"
    assert frame_count(decoded(answer["output"])) == 5


def test_the_client_saves_the_video(server, client_files):
    options = ["--url", server.url, "--image", "face.png", "--audio", "voice.wav", "--audio2", "other.wav"]
    run = run_client(client_files, [*options, *client_settings(seed=9), "-o", "out.mp4"])
    assert run.returncode == 0, run.stderr
    assert "35 frames" in run.stdout
    assert "seed 9" in run.stdout
    assert frame_count((client_files / "out.mp4").read_bytes()) == 35
    refused = run_client(client_files, [*options, "--set", "steps=0", "-o", "bad.mp4"])
    assert refused.returncode == 1
    assert "steps" in refused.stderr
    assert not (client_files / "bad.mp4").exists()


def test_a_failing_job_is_told_and_the_next_one_succeeds(server):
    for fields, word in [
        (job_fields(steps=0), "steps"),
        (job_fields(image="/etc/passwd"), "INPUT_ROOTS"),
        (job_fields(speech={"text": "Hi", "voices": {"person1": "nobody"}}, audio=None), "nobody"),
        ({"image": 5}, "image"),
    ]:
        answer = server.post("runsync", fields)
        assert answer["status"] == "FAILED"
        assert word in answer["error"]
        assert "Traceback" not in answer["error"]
    assert server.events("job_failed")[-1]["error_type"] == "invalid_input"
    assert run(server, job_fields(**TINY))["frames"] == 5


def test_the_documented_example(server):
    output = run(server, documented_job()["input"])
    assert output["frames"] == frame_count(decoded(output)) == 5


def test_two_jobs_at_once_are_both_answered(server):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda seed: run(server, job_fields(seed=seed, **TINY)), (1, 2))
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["video_base64"] != second["video_base64"]


def test_out_of_memory_is_answered_and_the_worker_stays_usable(server):
    """The process gets no more memory while a job needs much of it."""
    run(server, job_fields(**TINY))
    pid = server.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 60_000_000
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        answer = server.post("runsync", job_fields(**{**TINY, "size": [1280, 1280]}))
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert answer["status"] == "FAILED"
    assert "smaller size" in answer["error"]
    assert server.events("job_failed")[-1]["error_type"] == "out_of_memory"
    assert run(server, job_fields(**TINY))["frames"] == 5


def test_fifty_jobs_leave_no_file_and_no_memory(server):
    memory = []
    for count in range(50):
        fields = job_fields(steps=0) if count % 10 == 5 else job_fields(seed=count, steps=1, **TINY)
        server.post("runsync", fields)
        memory.append(server.memory())
    warm, end = memory[9], memory[-1]
    assert end - warm < 20_000_000, [round(each / 1e6) for each in memory[::5]]
    assert server.files() == []


def test_the_log_is_json_with_stage_times_and_without_prompts(server):
    fields = job_fields(prompt="a very private sentence", image="http://user:hunter2@127.0.0.1/a.png")
    server.post("runsync", fields)
    run(server, job_fields(prompt="a very private sentence", **TINY))
    done = server.events("job_finished")[-1]
    assert {"job_id", "timings", "seed", "peak_memory", "answer_bytes", "delivery"} <= set(done)
    read = server.events("inputs_read", done["job_id"])[0]
    assert (read["picture"], read["sounds"]) == ([90, 60], {"person1": 0.2})
    text = server.log.read_text()
    assert "private sentence" not in text
    assert "hunter2" not in text
    names = [event["event"] for event in server.events()]
    assert names.index("weights_loaded") < names.index("worker_ready") < names.index("job_started")


def test_large_audio_of_three_jobs_is_decoded_one_after_another(server):
    """120 KB each, and 0.5 GB when decoded."""
    fields = job_fields(audio=base64_of(silent_flac(300, channels=8)))
    decoded_bytes = 300 * 48000 * 8 * 4
    before = server.memory()
    with peak_memory_of(server.process.pid) as peak, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: server.post("runsync", fields), range(3)))
    errors = [answer["error"] for answer in answers]
    assert set(errors) <= {"audio is silent. Provide audio with a voice.", BUSY}
    assert errors.count(BUSY) < 3
    # one file in the worker, or one and its parts in the decoder
    assert peak() - before < 3 * decoded_bytes
