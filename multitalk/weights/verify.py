"""Is a baked weights folder whole? Quickly, before it is loaded; or thoroughly, with every byte."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError
from .files import hash_file
from .folders import COMPILED_FOLDER
from .kokoro_files import missing_files
from .manifest import LORA_FOLDER, PARTS, Manifest, folder_files
from .tensor_files import TensorInfo, read_header


def check_complete(path: str | Path) -> Manifest:
    """Check that every file is there with its size, and holds the tensors it should; reads no values.

    Args:
        path: A baked weights folder.

    Returns:
        Its manifest.

    Raises:
        WeightsError: Names the first file that is missing or damaged.
    """
    folder = Path(path)
    manifest = Manifest.read(folder)
    for problem in (
        _file_problems(folder, manifest) + _speech_problems(manifest) + _tensor_problems(folder, manifest)
    ):
        raise WeightsError(f"The weights folder {folder} can't be used: {problem}")
    return manifest


def verify(path: str | Path, hashes: bool = True) -> list[str]:
    """Look for everything that is wrong with a baked weights folder.

    Args:
        path: The folder.
        hashes: Read every file and compare its sha256; without it a flipped byte isn't noticed.

    Returns:
        A sentence for each problem; empty when all is well.
    """
    folder = Path(path)
    try:
        manifest = Manifest.read(folder)
    except WeightsError as error:
        return [str(error)]
    problems = _file_problems(folder, manifest)
    problems += [f"{name} is not part of this folder." for name in _extra_files(folder, manifest)]
    problems += _speech_problems(manifest)
    problems += _tensor_problems(folder, manifest)
    if hashes:
        problems += _hash_problems(folder, manifest)
    return problems


def _file_problems(folder: Path, manifest: Manifest) -> list[str]:
    problems = []
    for name, record in manifest.files.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing.")
        elif (size := file.stat().st_size) != record.size:
            problems.append(f"{name} has {size} bytes and should have {record.size}.")
    return problems


def _speech_problems(manifest: Manifest) -> list[str]:
    """Kokoro is left out, or there with everything it needs."""
    return [f"{name} is missing, which Kokoro needs." for name in missing_files(manifest.files)]


def _extra_files(folder: Path, manifest: Manifest) -> list[str]:
    """Files that the manifest doesn't name, but for what may come later: LoRAs, and kernels of the GPU."""
    allowed = (f"{LORA_FOLDER}/", f"{COMPILED_FOLDER}/")
    return [
        name for name in folder_files(folder) if name not in manifest.files and not name.startswith(allowed)
    ]


def _tensor_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What the headers of a part's files say against what the manifest says."""
    problems = []
    for part in PARTS:
        expected = dict(manifest.tensors.get(part, {}))
        if not expected:
            problems.append(f"{part} has no tensors.")
            continue
        complete = True
        for name in manifest.files:
            file = folder / name
            if not (name.startswith(f"{part}/") and name.endswith(".safetensors")):
                continue
            if not file.is_file():
                complete = False  # said already
                continue
            try:
                header = read_header(file)
            except WeightsError as error:
                problems.append(str(error))
                complete = False
                continue
            for tensor, info in header.items():
                problems += _tensor_problem(name, tensor, info, expected.pop(tensor, None))
        if complete:
            problems += [f"{part} lacks the tensor {tensor}." for tensor in expected]
    return problems


def _tensor_problem(file: str, tensor: str, found: TensorInfo, expected: TensorInfo | None) -> list[str]:
    if expected is None:
        return [f"{file} has a tensor too many, {tensor}."]
    if found != expected:
        return [
            f"{file}: {tensor} is {found.dtype} {list(found.shape)} "
            f"and should be {expected.dtype} {list(expected.shape)}."
        ]
    return []


def _hash_problems(folder: Path, manifest: Manifest) -> list[str]:
    return [
        f"{name} is damaged: its contents don't have the sha256 that the manifest names."
        for name, record in manifest.files.items()
        if (folder / name).is_file()
        and (folder / name).stat().st_size == record.size
        and hash_file(folder / name) != record.sha256
    ]
