"""A base image for the tests: Debian with Python, and the installed packages that the requirements name.

It stands in for base.Dockerfile's, which needs hosts and hours that a test doesn't have.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

SUITE = "bookworm"  # its Python is 3.11
SITE_PACKAGES = "opt/venv/lib/python3.11/site-packages"


def closure(requirement_files: list[Path]) -> list[metadata.Distribution]:
    """The installed distributions that requirements files name, and what those need in turn."""
    pending = [
        Requirement(text)
        for file in requirement_files
        for line in file.read_text().splitlines()
        if (text := line.split("#")[0].strip())
    ]
    found: dict[str, metadata.Distribution] = {}
    done: set[str] = set()
    while pending:
        requirement = pending.pop()
        for extra in ("", *requirement.extras):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            if (key := f"{requirement.name.lower()}[{extra}]") in done:
                continue
            done.add(key)
            try:
                distribution = metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError:
                continue  # runpod's own requirements, of which it uses some
            found[distribution.name.lower()] = distribution
            for text in distribution.requires or []:
                need = Requirement(text)
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    need.marker = None
                    pending.append(need)
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
            shutil.copy2(path, copy)  # with its time, by which bytecode is recognised


def make_root(root: Path, repository: Path) -> Path:
    """Debian with an environment at /opt/venv, as the Dockerfile wants it; what is there is kept."""
    if not (root / "etc/debian_version").exists():
        packages = "ca-certificates,python3,python3-venv"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    if not (root / "opt/venv/bin/python").exists():
        for name in ("venv", "fetch"):
            subprocess.run(["chroot", str(root), "python3", "-m", "venv", f"/opt/{name}"], check=True)
        files = [repository / "requirements.txt", repository / "requirements-runpod.txt"]
        copy_distributions(closure(files), root / SITE_PACKAGES)
        fetch = root / SITE_PACKAGES.replace("venv", "fetch")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(fetch)]
        subprocess.run([*command, "-r", str(repository / "requirements-fetch.txt")], check=True)
    return root
