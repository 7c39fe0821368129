"""Base images for the tests: Debian with Python, and with the installed packages of the lock.

They replace base.Dockerfile, which needs network access and hours. Files that no test uses are left out,
since every gigabyte is written six times: packages' headers and tests, Chinese and Japanese dictionaries.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .engine import Engine

SUITE = "bookworm"  # its Python is 3.11
PACKAGES = "opt/venv/lib/python3.11/site-packages"
PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFT_OUT = re.compile(
    r"^(torch/(bin/(?!torch_shm)|include/|test/)|unidic_lite/dicdir/|pypinyin_dict/)|/tests?/"
)


def distributions_of(lock: Path) -> list[metadata.Distribution]:
    """List the installed distributions of a lock, torch, and the requirements of torch."""
    lines = (line.strip(" \\") for line in lock.read_text().splitlines())
    pending = [Requirement("torch"), *(Requirement(line) for line in lines if line and line[0] not in "#-")]
    found: dict[str, metadata.Distribution] = {}
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = metadata.distribution(name)
        pending += map(Requirement, found[name].requires or [])
    return list(found.values())


def make_debian(root: Path, repository: Path) -> None:
    """Create Debian with Python, an empty environment, and the environment that downloads weights."""
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=ca-certificates,python3,python3-venv",
        SUITE,
        root,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for name in ("venv", "fetch"):
        subprocess.run(["chroot", root, "python3", "-m", "venv", f"/opt/{name}"], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--no-compile",
    ]
    command += ["--target", root / PACKAGES.replace("venv", "fetch")]
    subprocess.run([*command, "--requirement", repository / "requirements-fetch.txt"], check=True)


def installed_files(lock: Path) -> list[str]:
    """List the files of the distributions of a lock, relative to site-packages."""
    return [
        str(name)
        for distribution in distributions_of(lock)
        for name in distribution.files or []
        if ".." not in name.parts
        and not LEFT_OUT.search(str(name))
        and distribution.locate_file(name).is_file()
    ]


def import_images(engine: Engine, root: Path, lock: Path, python: str, base: str) -> None:
    """Create an image from a folder of Debian, and the base image from it and the installed packages."""
    folder = Path(metadata.distribution("torch").locate_file(""))
    archive = ["tar", "--create", "--numeric-owner", "--directory", str(root), "."]
    packages = ["--directory", str(folder.parent), f"--transform=s,^{folder.name}/,{PACKAGES}/,"]
    packages += ["--no-recursion", "--verbatim-files-from", "--files-from=-"]
    names = "".join(f"{folder.name}/{name}\n" for name in installed_files(lock)).encode()
    for image, command in ((python, archive), (base, [*archive, *packages])):
        # Docker would compress it with gzip, which takes minutes
        script = '"$@" | zstd -1 --threads=2 | docker import --change "ENV PATH=$PATH_OF_IMAGE" - "$IMAGE"'
        subprocess.run(
            ["bash", "-o", "pipefail", "-c", script, "-", *command],
            input=names,
            env=engine.environment | {"IMAGE": image, "PATH_OF_IMAGE": PATH},
            stdout=subprocess.DEVNULL,
            check=True,
        )
