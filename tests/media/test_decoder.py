"""Decoding in a process that is limited and can be ended."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from multitalk.errors import InvalidInput
from multitalk.media import decoding
from multitalk.media.decoder_messages import shared_file
from multitalk.media.decoder_process import DecoderPool, DecodingFailed, Limits
from multitalk.media.picture import read_picture
from multitalk.media.sound_reading import read_length, read_sound
from multitalk.media.stopping import in_stoppable_thread
from tests.fresh_process import ROOT, run_script
from tests.media.hostile import jpeg_with_scans, saved, silent_flac
from tests.waiting import wait_until

SMALL = saved(Image.new("RGB", (60, 40), "gray"), "PNG")
LARGE = saved(Image.new("RGB", (4000, 4000)), "PNG", compress_level=1)
# decoded for minutes if nothing stops it
ENDLESS = jpeg_with_scans(3000)
ROOMY = Limits(60, 300, 2**31)


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderPool]:
    """A pool without processes."""
    decoding.pool.close()  # processes of other tests
    pool = DecoderPool()
    monkeypatch.setattr(decoding, "pool", pool)
    yield pool
    pool.close()


@pytest.fixture
def without_scan_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing, so that only the limits of decoding apply."""
    run = DecoderPool.run

    def unmeasured(pool: DecoderPool, job: dict, *arguments: object, **options: object):
        if job["task"].startswith("measure"):
            return {"bytes": 0}, b""
        return run(pool, job, *arguments, **options)

    monkeypatch.setattr(DecoderPool, "run", unmeasured)


def decoders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "multitalk.media.decoder" in child.cmdline()]


def run_picture(pool: DecoderPool, content: bytes, limits: Limits) -> None:
    with shared_file(content) as file:
        pool.run({"task": "picture", "name": "x", "field": "image"}, file, limits)


def test_one_process_decodes_one_file_after_another(pool: DecoderPool) -> None:
    read_picture(SMALL)
    (first,) = pool._unused
    noise = np.random.default_rng(0).normal(0, 0.1, (16000, 2)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, noise, 16000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_sound(file.getvalue()).samples, noise)
    assert pool._unused == [first]


def test_samples_can_be_changed() -> None:
    sound = read_sound(silent_flac(1, 1))
    sound.samples[:] = 0.5
    assert sound.samples.max() == 0.5


def test_a_length_is_that_of_the_decoded_sound(tmp_path: Path) -> None:
    path = tmp_path / "silence.flac"
    path.write_bytes(silent_flac(3, 2))
    assert read_length(path) == 3.0
    with pytest.raises(InvalidInput, match="audio: file not found"):
        read_length(tmp_path / "none.wav")


@pytest.mark.parametrize("limits", [Limits(1, 300, 2**31), Limits(300, 1, 2**31)], ids=["processor", "wall"])
def test_time_is_limited(pool: DecoderPool, limits: Limits) -> None:
    with pytest.raises(DecodingFailed) as caught:
        run_picture(pool, ENDLESS, limits)
    assert caught.value.reason == "time"
    assert not pool._unused
    run_picture(pool, SMALL, ROOMY)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit a process's memory")
def test_memory_is_limited(pool: DecoderPool) -> None:
    with pytest.raises(DecodingFailed) as caught:
        run_picture(pool, LARGE, Limits(60, 300, 2**20))
    assert caught.value.reason == "memory"
    run_picture(pool, LARGE, ROOMY)


def test_each_limit_has_a_sentence(monkeypatch, pool, without_scan_limit) -> None:
    monkeypatch.setattr(decoding, "limits", lambda *_: Limits(1, 300, 2**31))
    with pytest.raises(InvalidInput, match=r"^image \(\d+ bytes\) takes too long to decode"):
        read_picture(ENDLESS)
    monkeypatch.setattr(decoding, "limits", lambda *_: Limits(60, 300, 2**20))
    with pytest.raises(InvalidInput, match=r"^image \(\d+ bytes\) needs too much memory"):
        read_picture(LARGE)
    with pytest.raises(InvalidInput, match=r"^audio.person2 \(\d+ bytes\) needs too much memory"):
        read_sound(silent_flac(40), "audio.person2")


def test_a_header_that_announces_too_little_is_no_obstacle(monkeypatch, pool) -> None:
    content = bytearray(silent_flac(40))
    content[21] &= 0xF0  # FLAC's number of samples: 36 bits from here
    content[22:26] = bytes(4)
    monkeypatch.setattr(decoding, "LARGE_BYTES", 2**20)
    monkeypatch.setattr(decoding, "SPARE_MEMORY", 2**22)
    assert read_sound(bytes(content)).seconds == pytest.approx(40, abs=0.1)


def test_a_jpeg_with_hundreds_of_scans_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidInput, match="305 JPEG scans"):
        read_picture(jpeg_with_scans(300, 500))
    assert read_picture(saved(Image.new("RGB", (500, 500)), "JPEG", progressive=True)).size == (500, 500)


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, "crash"), (signal.SIGKILL, "memory"), (signal.SIGABRT, "memory")]
)
def test_a_process_that_ends_is_replaced(pool: DecoderPool, number: int, reason: str) -> None:
    killer = threading.Thread(target=lambda: (wait_until(busy), decoders()[0].send_signal(number)))
    killer.start()
    with pytest.raises(DecodingFailed) as caught:
        run_picture(pool, ENDLESS, ROOMY)
    killer.join()
    assert caught.value.reason == reason
    run_picture(pool, SMALL, ROOMY)
    decoders()[0].kill()
    wait_until(lambda: pool._unused[0].has_ended)
    run_picture(pool, SMALL, ROOMY)


def busy() -> bool:
    """Whether a decoder process decodes; starting one takes less time."""
    return any(sum(child.cpu_times()[:2]) > 0.6 for child in decoders())


def test_cancellation_ends_the_process(pool: DecoderPool, without_scan_limit: None) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(in_stoppable_thread(read_picture, ENDLESS))
        await asyncio.to_thread(wait_until, busy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert decoders() == []


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    picture = tmp_path / "endless.jpg"
    picture.write_bytes(ENDLESS)
    script = (
        "from multitalk.media.decoder_process import DecoderPool, Limits; import sys; "
        "DecoderPool().run({'task': 'picture', 'name': '', 'field': ''}, open(sys.argv[1], 'rb'), "
        "Limits(600, 600, 2**31))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(picture)], cwd=ROOT)
    children: list[psutil.Process] = []

    def is_busy() -> bool:
        children[:] = psutil.Process(parent.pid).children()
        return any(sum(child.cpu_times()[:2]) > 0.6 for child in children)

    try:
        wait_until(is_busy)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(child.is_running() for child in children), 30, "the end of the decoder")


def test_it_knows_no_secrets_and_loads_no_models(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "hunter2")
    read_picture(SMALL)
    read_sound(silent_flac(1, 1))
    (decoder,) = decoders()
    assert "hunter2" not in decoder.environ().values()
    libraries = {Path(file.path).parent.parent.name for file in decoder.memory_maps()}
    assert "PIL" in "".join(file.path for file in decoder.memory_maps())
    assert not {"torch", "gradio", "transformers"} & libraries
    assert not any("/torch/" in file.path for file in decoder.memory_maps())


def test_a_forked_process_starts_its_own() -> None:
    script = f"""
import os
from multitalk.media.picture import read_picture
content = {SMALL!r}
read_picture(content)
child = os.fork()
for _ in range(5):
    read_picture(content)
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both")
"""
    assert run_script(script).strip() == "both"


def test_it_is_found_from_any_folder(tmp_path: Path) -> None:
    script = (
        f"import os, sys; sys.path[0] = {str(ROOT)!r}; os.chdir({str(tmp_path)!r}); "
        f"from multitalk.media.picture import read_picture; print(read_picture({SMALL!r}).size)"
    )
    # a module of the working directory must not replace one that the decoder imports
    (tmp_path / "json.py").write_text("raise SystemExit('wrong module')")
    assert run_script(script).strip() == "(60, 40)"


def test_max_audio_seconds_applies_to_a_process_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    content = silent_flac(3, 1)
    assert read_sound(content).seconds == 3
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "2")
    with pytest.raises(InvalidInput, match="2 seconds"):
        read_sound(content)


def test_open_files_do_not_grow(pool: DecoderPool, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(SMALL)
    read_picture(path)
    before = psutil.Process().num_fds()
    for _ in range(20):
        read_picture(path)
        read_sound(silent_flac(1, 1))
        with pytest.raises(InvalidInput):
            read_picture(b"no picture")
    assert psutil.Process().num_fds() == before
    assert len(decoders()) == 1
