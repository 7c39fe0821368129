"""The patches of Gradio."""

from __future__ import annotations

import asyncio

import gradio as gr
import pytest

from multitalk.patches.gradio import poll_queue


def test_the_queue_sleeps_between_its_looks_for_events(monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks() as page:
        pass
    queue = page._queue
    poll_queue(page, 0.02)
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        queue.stopped = True

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(queue.start_processing())
    assert naps == [0.02]
