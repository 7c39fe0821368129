"""Check a baked weights folder: quickly before it is loaded, or completely with every byte."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError
from .folders import COMPILED_FOLDER, hash_file, missing_kokoro_files
from .manifest import LORA_FOLDER, Manifest, folder_files
from .tensor_files import TensorInfo, read_header


def check_complete(path: str | Path) -> Manifest:
    """Check that all files exist, have the right size and contain the right tensors, without reading values.

    Args:
        path: A baked weights folder.

    Returns:
        Its manifest.

    Raises:
        WeightsError: A file is missing or damaged; the message names the first.
    """
    folder = Path(path)
    manifest = Manifest.read(folder)
    for problem in (
        _file_problems(folder, manifest) + _speech_problems(manifest) + _tensor_problems(folder, manifest)
    ):
        raise WeightsError(f"Weights folder {folder} is not valid: {problem}")
    return manifest


def verify(path: str | Path, hashes: bool = True) -> list[str]:
    """Find all problems of a baked weights folder.

    Args:
        path: The folder.
        hashes: Compare the sha256 of every file, which detects changed values.

    Returns:
        One sentence per problem; empty if there are none.
    """
    folder = Path(path)
    try:
        manifest = Manifest.read(folder)
    except WeightsError as error:
        return [str(error)]
    problems = _file_problems(folder, manifest)
    problems += [f"{name} is not in the manifest." for name in _extra_files(folder, manifest)]
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
            problems.append(f"{name} has {size} bytes, but must have {record.size}.")
    return problems


def _speech_problems(manifest: Manifest) -> list[str]:
    """Kokoro may be left out, but must be complete otherwise."""
    return [f"{name} is missing: Kokoro needs it." for name in missing_kokoro_files(manifest.files)]


def _extra_files(folder: Path, manifest: Manifest) -> list[str]:
    """List files that are not in the manifest, except for LoRAs and compiled kernels, which may be added."""
    allowed = (f"{LORA_FOLDER}/", f"{COMPILED_FOLDER}/")
    return [
        name for name in folder_files(folder) if name not in manifest.files and not name.startswith(allowed)
    ]


def _tensor_problems(folder: Path, manifest: Manifest) -> list[str]:
    """Compare the headers of the weights files with the manifest."""
    problems = []
    for part in manifest.tensor_folders:
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
                complete = False  # reported by _file_problems
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
            problems += [f"{part} lacks a tensor: {tensor}." for tensor in expected]
    return problems


def _tensor_problem(file: str, tensor: str, info: TensorInfo, expected: TensorInfo | None) -> list[str]:
    if expected is None:
        return [f"{file} has a tensor that is not in the manifest: {tensor}."]
    if info != expected:
        return [
            f"{file}: {tensor} is {info.dtype} {list(info.shape)}, "
            f"but must be {expected.dtype} {list(expected.shape)}."
        ]
    return []


def _hash_problems(folder: Path, manifest: Manifest) -> list[str]:
    return [
        f"{name} is damaged: its sha256 differs from the manifest's."
        for name, record in manifest.files.items()
        if (folder / name).is_file()
        and (folder / name).stat().st_size == record.size
        and hash_file(folder / name) != record.sha256
    ]
