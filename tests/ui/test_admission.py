"""Requests at the same time whose files are small and large when decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from multitalk.media.admission import BUSY
from tests.media.hostile import silent_flac
from tests.process_state import peak_memory_of, state_of
from tests.ui.api_client import connected
from tests.ui.app import EXAMPLES, App

DECODED = 600 * 48000 * 8 * 4  # bytes of one of the files


@pytest.mark.slow
def test_large_audio_of_three_requests_is_decoded_one_after_another(app: App, tmp_path: Path) -> None:
    (tmp_path / "silence.flac").write_bytes(silent_flac(600, channels=8))
    assert (tmp_path / "silence.flac").stat().st_size < 300_000

    def generate(_: int) -> str:
        with connected(app) as client, pytest.raises(AppError) as refusal:
            client.predict(
                image=handle_file(str(EXAMPLES / "one_person.png")),
                audio1=handle_file(str(tmp_path / "silence.flac")),
                api_name="/generate",
            )
        return str(refusal.value)

    before = state_of(app.process.pid).memory
    with peak_memory_of(app.process.pid) as peak, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(generate, range(3)))
    assert set(answers) <= {"audio is silent. Provide audio with a voice.", BUSY}
    assert answers.count(BUSY) < 3
    # one file in the page, or one and its parts in the decoder; three at the same time have 6 GB
    assert peak() - before < 3 * DECODED
