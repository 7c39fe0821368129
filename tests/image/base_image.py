"""A base image for the tests: Debian with Python and the installed packages of the lock.

It replaces base.Dockerfile, which needs network access and hours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SUITE = "bookworm"  # its Python is 3.11
SITE_PACKAGES = "opt/venv/lib/python3.11/site-packages"


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


def copy_distributions(distributions: list[metadata.Distribution], target: Path) -> None:
    """Copy the files that distributions' records name."""
    source = Path(sys.prefix) / "lib/python3.11/site-packages"
    folders: set[Path] = set()
    for distribution in distributions:
        for name in distribution.files or []:
            path = Path(str(distribution.locate_file(name)))
            if ".." in name.parts or not path.is_file():
                continue
            copy = target / path.relative_to(source)
            if copy.parent not in folders:
                copy.parent.mkdir(parents=True, exist_ok=True)
                folders.add(copy.parent)
            shutil.copy2(path, copy)  # with its time, which validates bytecode


def make_root(root: Path, repository: Path) -> Path:
    """Create Debian with an environment at /opt/venv, as the Dockerfile needs it; existing files are kept."""
    if not (root / "etc/debian_version").exists():
        packages = "ca-certificates,python3,python3-venv"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    if not (root / "opt/venv/bin/python").exists():
        for name in ("venv", "fetch"):
            subprocess.run(["chroot", str(root), "python3", "-m", "venv", f"/opt/{name}"], check=True)
        copy_distributions(distributions_of(repository / "requirements.txt"), root / SITE_PACKAGES)
        fetch = root / SITE_PACKAGES.replace("venv", "fetch")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        lock = str(repository / "requirements-fetch.txt")
        subprocess.run([*command, "--target", str(fetch), "--requirement", lock], check=True)
    return root
