"""Every front end recognizes out-of-memory errors and says what to change."""

from __future__ import annotations

import pytest
import torch

from multitalk.cli.installation_checks import describe_memory
from multitalk.cli.main import _unexpected
from multitalk.parallel.failures import sentence_of
from multitalk.runtime.process_memory import SMALLER, is_out_of_memory, peak_memory, trim
from multitalk.serverless.answers import failure
from multitalk.ui.job import describe_failure
from multitalk.weights import host_memory
from multitalk.weights.host_memory import container_limit, free_memory, usable_memory
from tests.fresh_process import run_script


def of_the_cpu() -> Exception:
    """Return torch's error if host memory is too small."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    return caught.value


ERRORS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), of_the_cpu()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_front_end_says_what_to_change(error: Exception):
    assert is_out_of_memory(error)
    assert SMALLER in _unexpected(error)
    assert SMALLER in sentence_of(error)
    assert SMALLER in failure(error, "job")["error"]
    assert "choose a smaller size" in describe_failure(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("")])
def test_other_errors_are_not_about_memory(error: Exception):
    assert not is_out_of_memory(error)
    assert SMALLER not in _unexpected(error)
    assert SMALLER not in failure(error, "job")["error"]


def test_the_peak_counts_held_memory_and_stays():
    size = 1 << 28
    assert (before := peak_memory()) is not None
    held = torch.ones(size, dtype=torch.uint8)
    assert (peak := peak_memory()) is not None
    assert peak > size
    assert peak >= before
    del held
    trim()
    assert (after := peak_memory()) is not None
    assert after > peak - size // 2  # the kernel counts pages, with a delay


FREE_PICTURES = """
import os, threading
from PIL import Image
from multitalk.runtime.process_memory import return_large_blocks
from tests.process_state import state_of

return_large_blocks()
Image.new("RGB", (6000, 4000))
before = state_of(os.getpid()).memory
together = threading.Barrier(5)

def work():
    together.wait()  # so that every thread has a heap of its own
    Image.new("RGB", (6000, 4000))
    together.wait()
    together.wait()

for _ in range(4):
    threading.Thread(target=work).start()
for _ in range(2):
    together.wait()
print(state_of(os.getpid()).memory - before)
together.wait()
"""


def test_threads_keep_no_memory_of_freed_pictures():
    """Four threads keep 200 MB with glibc's defaults, 50 MB each."""
    assert int(run_script(FREE_PICTURES)) < 10_000_000


@pytest.mark.parametrize(
    ("content", "limit"),
    [("8000000000\n", 8_000_000_000), ("max\n", None), ("9223372036854771712\n", None), (None, None)],
)
def test_the_limit_of_a_container(tmp_path, monkeypatch, content: str | None, limit: int | None):
    monkeypatch.setattr(host_memory, "_LIMITS", ())
    of_the_machine = usable_memory()
    assert of_the_machine > 0
    assert container_limit() is None
    files = (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes")
    if content is not None:
        files[0].write_text(content)
    monkeypatch.setattr(host_memory, "_LIMITS", files)
    assert container_limit() == limit
    assert usable_memory() == min(of_the_machine, limit or of_the_machine)
    assert free_memory() <= (limit or of_the_machine)
    assert ("for this container" in describe_memory()) == (limit is not None and limit < of_the_machine)
