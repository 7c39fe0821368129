"""Make ``tests/parity/data`` from the full set of the published reference's numbers.

``python -m tests.parity.make_data PARITY_DIR``, from the root of the repository. The reference is not run:
values are left out, and none is changed. ``data/README.md`` describes the result.
"""

from __future__ import annotations

import io
import lzma
import sys
import tarfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

DATA = Path(__file__).parent / "data"
ARCHIVES = ("weights", "cases", "infinitetalk")
# Of ``infinitetalk``, beside PARITY_DIR: the audio layers for one person, and a short video whose picture and
# audio are in ``cases``.
INFINITETALK = (
    *("cases/e2e_image_teacache.json", "cases/e2e_image_teacache.safetensors"),
    "weights/InfiniteTalk/single/infinitetalk.safetensors",
)

# case, tensor -> axis, length: the first frames are kept. A later frame does not change an earlier one.
CUT = {
    ("vae", "video"): (1, 9),
    ("vae", "latents"): (1, 3),
    ("vae", "decoded"): (1, 9),
    ("color_correction", "source"): (2, 2),
    ("color_correction", "strength_*"): (2, 2),
}
# case, tensor -> n: one value in n is kept, the others are NaN. n is a prime: every channel and every frame
# keeps values.
SAMPLED = {
    ("audio", "*.waveform"): 11,
    ("audio", "*.person?"): 11,
    ("dit_*", "out_*"): 11,
    ("vae", "decoded"): 11,
    ("e2e_*", "clip?_latents"): 11,
    ("e2e_image_*", "clip?_*"): 11,
    ("e2e_*", "video"): 127,
}
# case, tensor: no test reads it.
LEFT_OUT = (("audio", "*.mix"), ("text_encoder", "ids"), ("text_encoder", "mask"), ("e2e_*", "*"))
# The audio encoder's tensors in another format, which no code reads.
LEFT_OUT_WEIGHTS = "*/pytorch_model.bin"


def matching(rules: Mapping[tuple[str, str], Any], case: str, tensor: str) -> Any:
    """The rule for a tensor of a case, or None."""
    found = (rule for names, rule in rules.items() if fnmatch(case, names[0]) and fnmatch(tensor, names[1]))
    return next(found, None)


def sample(tensor: torch.Tensor, step: int) -> torch.Tensor:
    """Keep one value in `step`, in memory order, and put NaN in place of the others."""
    sampled = torch.full(tensor.shape, torch.nan, dtype=tensor.dtype)
    sampled.flatten()[::step] = tensor.flatten()[::step]
    return sampled


def reduce_case(case: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a case that are published, with what is kept of them."""
    kept = {}
    for name, tensor in tensors.items():
        if cut := matching(CUT, case, name):
            tensor = tensor.narrow(cut[0], 0, cut[1]).contiguous()
        if step := matching(SAMPLED, case, name):
            kept[name] = sample(tensor, step)
        elif not matching(dict.fromkeys(LEFT_OUT, True), case, name):
            kept[name] = tensor
    return kept


def contents(parity: Path, archive: str) -> Iterator[tuple[str, bytes]]:
    """The files of an archive in their order: name and bytes."""
    if archive == "infinitetalk":
        folder = parity.parent / archive
        for name in INFINITETALK:
            path = folder / name
            reduced = path.parent.name == "cases" and path.suffix == ".safetensors"
            content = save(reduce_case(path.stem, load_file(path))) if reduced else path.read_bytes()
            yield f"{archive}/{name}", content
        return
    for path in sorted((parity / archive).rglob("*")):
        name = path.relative_to(parity).as_posix()
        if path.is_dir() or fnmatch(name, LEFT_OUT_WEIGHTS):
            continue
        if archive == "cases" and path.suffix == ".safetensors":
            yield name, save(reduce_case(path.stem, load_file(path)))
        else:
            yield name, path.read_bytes()


def pack(parity: Path, archive: str, target: Path) -> None:
    """Write an archive, reproducibly: it contains no times and no owners."""
    # lp=2 is for values of 4 bytes: it makes float32 8 % smaller
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 1, "lp": 2, "pb": 2}]
    with lzma.open(target, "wb", filters=filters) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in contents(parity, archive):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def unpack(target: Path) -> Path:
    """Unpack the archives into a folder of the full set's layout, and return it."""
    for archive in ARCHIVES:
        with tarfile.open(DATA / f"{archive}.tar.xz") as tar:
            tar.extractall(target, filter="data")
    return target


def main() -> None:
    """The command."""
    parity = Path(sys.argv[1])
    for archive in ARCHIVES:
        target = DATA / f"{archive}.tar.xz"
        pack(parity, archive, target)
        print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
