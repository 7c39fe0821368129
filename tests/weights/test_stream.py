"""Reading tensors: equal to safetensors, each byte once, with errors for damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitalk.errors import WeightsError
from multitalk.weights import read_ahead, stream
from multitalk.weights.folders import all_part_files
from multitalk.weights.read_ahead import ReadAhead
from multitalk.weights.staged import read_staged
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.stream import read_tensors
from multitalk.weights.tensor_files import DTYPES

from .models import bits

CPU = torch.device("cpu")


def as_stored(name: str) -> None:
    return None


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks smaller than the test's tensors."""
    monkeypatch.setattr(read_ahead, "CHUNK_BYTES", 1 << 12)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Two files with all dtypes, odd sizes, and tensors of one and of zero elements."""
    generator = torch.Generator().manual_seed(0)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        tensors = {
            "matrix": torch.randn(173, 91, generator=generator),
            "half": torch.randn(7, 1001, generator=generator).bfloat16(),
            "eight": torch.randn(64, 65, generator=generator).to(torch.float8_e4m3fn),
            "whole": torch.randint(-128, 127, (3333,), generator=generator, dtype=torch.int8),
            "one": torch.randn((), generator=generator),
            "none": torch.empty(0, 5),
            "flag": torch.tensor([True, False, True]),
        }
        save_file({f"{path.stem}.{name}": tensor for name, tensor in tensors.items()}, path)
    return paths


def assert_same(read: dict[str, torch.Tensor], files: list[Path]) -> None:
    expected = {name: tensor for path in files for name, tensor in load_file(path).items()}
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype, name
        assert read[name].shape == tensor.shape, name
        assert torch.equal(bits(read[name]), bits(tensor)), name


def test_tensors_equal_those_of_safetensors(files, small_pieces):
    assert_same(dict(read_tensors(files, "cpu", as_stored)), files)


@pytest.mark.parametrize("buffers", [1, 3])
@pytest.mark.parametrize("size", [64, 4096, 1 << 20])
def test_staged_reading_gives_the_same_tensors(files, small_pieces, buffers, size):
    layouts = {path: stream.read_layout(path) for path in files}
    reading = ReadAhead(files)
    assert_same(dict(read_staged(layouts, CPU, as_stored, reading, {}, buffers, size)), files)


@pytest.mark.parametrize("kinds", [("matrix",), ("half", "eight", "one", "none"), ("whole", "flag")])
@pytest.mark.parametrize("buffers", [1, 3])
@pytest.mark.parametrize("size", [64, 4096, 1 << 20])
def test_tensors_are_read_into_their_targets(files, small_pieces, buffers, size, kinds):
    """Between others, which are staged; a target is written by the reading threads."""
    layouts = {path: stream.read_layout(path) for path in files}
    targets = {
        stored.name: torch.zeros(stored.info.shape, dtype=DTYPES[stored.info.dtype])
        for stored in layouts[files[0]]
        if stored.name.endswith(kinds)
    }
    assert len(targets) == len(kinds)
    read = dict(read_staged(layouts, CPU, as_stored, ReadAhead(files), targets, buffers, size))
    assert_same(read, files)
    for name, target in targets.items():
        assert read[name] is target or target.numel() == 0


def test_only_selected_tensors_are_cast(files):
    read = dict(read_tensors(files, "cpu", lambda name: torch.float64 if "matrix" in name else None))
    whole = load_file(files[0])
    assert read["a.matrix"].dtype == torch.float64
    assert torch.equal(read["a.matrix"], whole["a.matrix"].double())
    assert read["a.half"].dtype == torch.bfloat16


def test_changing_a_tensor_does_not_change_the_file(files):
    before = files[0].read_bytes()
    for _, tensor in read_tensors(files, "cpu", as_stored):
        tensor.zero_()
    assert files[0].read_bytes() == before


def test_every_byte_is_read_once(files, small_pieces, monkeypatch):
    """By the threads and the faster consumer together."""
    ranges: dict[Path, list[tuple[int, int]]] = {path: [] for path in files}
    lock = threading.Lock()
    fill = read_ahead._fill_cache

    def watched(path: Path, start: int, length: int) -> None:
        with lock:
            ranges[path].append((start, start + length))
        fill(path, start, length)

    monkeypatch.setattr(read_ahead, "_fill_cache", watched)
    reading = ReadAhead(files)
    list(read_tensors(reversed(files), "cpu", as_stored, reading))
    reading.stop()
    for path in files:
        read = sorted(ranges[path])
        assert [start for start, _ in read] == [0, *(end for _, end in read[:-1])]
        assert read[-1][1] == path.stat().st_size
    assert reading.bytes_read == reading.total == sum(path.stat().st_size for path in files)


IO_SCRIPT = """
import sys
from pathlib import Path
import torch
from multitalk.weights.read_ahead import ReadAhead
from multitalk.weights.stream import read_tensors

def read_by_this_process():
    return int(Path("/proc/self/io").read_text().split()[1])

path = Path(sys.argv[1])
before = read_by_this_process()
tensors = dict(read_tensors([path], "cpu", lambda name: None))
assert sum(float(tensor.sum()) for tensor in tensors.values()) == 0
print(read_by_this_process() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="bytes are counted by Linux's /proc")
def test_the_kernel_counts_each_byte_once(tmp_path):
    path = tmp_path / "large.safetensors"
    save_file({f"t{n}": torch.zeros(1 << 20) for n in range(12)}, path)
    done = subprocess.run(
        [sys.executable, "-c", IO_SCRIPT, str(path)], capture_output=True, text=True, check=True
    )
    assert path.stat().st_size <= int(done.stdout) < path.stat().st_size + 100_000  # the header is read twice


def test_the_limit_holds_the_threads_back(tmp_path, small_pieces):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 16))
    reading = ReadAhead([path], limit=1 << 13)
    reading.wait(path, 0, 1 << 12)
    # ahead by the limit and by what four threads had started
    assert reading.bytes_read <= (1 << 12) + (1 << 13) + (4 << 12)
    reading.wait(path, 0, 1 << 16)
    reading.stop()
    assert reading.bytes_read == 1 << 16


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_the_command_ends_when_the_memory_is_full(baked, small_pieces, monkeypatch, share):
    monkeypatch.setattr(read_ahead, "MEMORY_SHARE", share)
    assert read_ahead.main([str(baked)]) == 0


def test_bytes_are_copied_if_sendfile_fails(files, monkeypatch):
    def refuse(*arguments: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    assert_same(dict(read_tensors(files, "cpu", as_stored)), files)


@pytest.mark.parametrize("staged", [False, True])
def test_a_disk_error_names_the_file(files, monkeypatch, staged):
    fill = read_ahead._fill_cache

    def fail(path: Path, start: int, length: int) -> None:
        if path == files[1]:
            raise OSError(5, "Input/output error")
        fill(path, start, length)

    monkeypatch.setattr(read_ahead, "_fill_cache", fail)
    layouts = {path: stream.read_layout(path) for path in files}
    reading = ReadAhead(files)
    if staged:
        read = read_staged(layouts, CPU, as_stored, reading, {}, 2, 64)
    else:
        read = stream._read_mapped(layouts, CPU, as_stored, reading)
    with pytest.raises(WeightsError, match=r"b\.safetensors cannot be read: .*Input/output error"):
        list(read)


def test_a_file_that_shrinks_while_it_is_read(files, small_pieces, monkeypatch):
    layouts = {path: stream.read_layout(path) for path in files}
    os.truncate(files[1], files[1].stat().st_size // 2)
    with pytest.raises(WeightsError, match=r"b\.safetensors cannot be read: the file ends"):
        list(stream._read_mapped(layouts, CPU, as_stored, ReadAhead(files)))


def test_short_and_damaged_files(files):
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-3])
    with pytest.raises(WeightsError, match="bytes, but must have"):
        list(read_tensors(files, "cpu", as_stored))
    files[0].write_bytes(whole.replace(b'"data_offsets":[0,', b'"data_offsets":[8,', 1))
    with pytest.raises(WeightsError, match="do not match its shape"):
        list(read_tensors(files, "cpu", as_stored))
    files[0].write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        list(read_tensors(files, "cpu", as_stored))
    files[0].unlink()
    with pytest.raises(WeightsError, match="is missing"):
        list(read_tensors(files, "cpu", as_stored))


def test_parts_use_a_read_ahead_that_has_started(baked):
    reading = ReadAhead(all_part_files(baked))
    folder = WeightsFolder(baked, reading)
    transformer = load_part(folder, "transformer", CPU, torch.float32)
    expected = {
        name: tensor
        for path in folder.weights_files("transformer")
        for name, tensor in load_file(path).items()
    }
    assert all(torch.equal(tensor, expected[name]) for name, tensor in transformer.state_dict().items())
    reading.stop()


# Casts a file to another dtype: the process's memory never holds both.
MEMORY_SCRIPT = """
import re, sys, threading
from pathlib import Path
import torch
from multitalk.weights.stream import read_tensors

def resident():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

path, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])
before = resident()
tensors = dict(read_tensors([path], "cpu", lambda name: dtype))
held = sum(tensor.nbytes for tensor in tensors.values())
print(held, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_peak_memory_is_that_of_the_weights(tmp_path, dtype):
    path = tmp_path / "large.safetensors"
    save_file({f"t{n}": torch.zeros(2 << 20, dtype=torch.float16) for n in range(40)}, path)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(path), dtype], capture_output=True, text=True, check=True
    )
    held, grown = map(int, done.stdout.split())
    assert held == 40 * (2 << 20) * (2 if dtype == "float16" else 4)
    assert 0.9 * held < grown < 1.1 * held
