"""``tests/parity/data``: its size, its cases, and that the script makes it from the full set."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load

from .conftest import FULL
from .make_data import ARCHIVES, DATA, contents
from .test_end_to_end import END_TO_END

MOST_BYTES = 12_000_000


def test_the_data_is_small():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < MOST_BYTES


def test_every_whole_video_is_in_the_data(data):
    assert sorted(path.stem for path in data.glob("cases/e2e_*.json")) == sorted(END_TO_END)


@pytest.mark.skipif(not FULL.is_dir(), reason="compares the data with ../shared/parity, which is not here")
@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_data_is_what_the_script_makes(archive, data):
    names = []
    for name, expected in contents(FULL, archive):
        names.append(name)
        content = (data / name).read_bytes()
        if "cases/" not in name or not name.endswith(".safetensors"):
            assert content == expected, name
            continue
        tensors, expected_tensors = load(content), load(expected)
        assert tensors.keys() == expected_tensors.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(
                tensor, expected_tensors[key], rtol=0, atol=0, equal_nan=True, msg=f"{name}: {key}"
            )
    stored = (path for path in (data / archive).rglob("*") if path.is_file())
    assert sorted(names) == sorted(path.relative_to(data).as_posix() for path in stored)
