"""The package as it is installed: the wheel in an environment of its own, and the locks of `make setup`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from multitalk import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEPENDENCIES = PROJECT["project"]["dependencies"]
LOCKED = {
    "requirements.txt": [*DEPENDENCIES, *EXTRAS["ui"], *EXTRAS["worker"], *EXTRAS["speech"]],
    "requirements-dev.txt": EXTRAS["dev"],
    "requirements-fetch.txt": PROJECT["dependency-groups"]["fetch"],
}
EXAMPLE = [str(ROOT / "examples" / name) for name in ("one_person.png", "one_person.wav")]
# name, version, environment marker, hashes
PIN = re.compile(r"^([a-z0-9][\w.-]*)==([\w.+]+)( ; [^\\\n]+)?((?: \\\n    --hash=sha256:\w{64})+)$", re.M)
LATENTS = """
import hashlib, pathlib, sys
import multitalk
folder = pathlib.Path(multitalk.__file__).parent
pipe = multitalk.MultiTalkPipeline.from_pretrained(folder / "demo/weights", device="cpu")
small = {"size": (64, 64), "steps": 2, "max_seconds": 0.5, "frames_per_clip": 9, "motion_frames": 5}
digest = hashlib.sha256()
for clip in pipe.stream(multitalk.GenerationRequest(image=sys.argv[1], audio=sys.argv[2], **small)):
    digest.update(clip.latents.numpy().tobytes())
print(folder, clip.index, digest.hexdigest())
"""


def run(*command: str | Path, **options: object) -> str:
    """What a command prints, with none of this checkout's variables."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MULTITALK_WEIGHTS")}
    environment |= options.pop("environment", {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", *options, ROOT)
    return next(folder.glob("multitalk-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel; the dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.slow
def test_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licenses = {Path(name).name for name in archive.namelist() if ".dist-info/licenses/" in name}
    package = [path for path in (ROOT / "multitalk").rglob("*") if path.is_file()]
    assert names == {p.relative_to(ROOT).as_posix() for p in package if "__pycache__" not in p.parts}
    assert {"multitalk/demo/weights/manifest.json", "multitalk/ui/assets/page.css"} <= names
    assert licenses == {"LICENSE", "NOTICE"}


@pytest.mark.slow
def test_commands_work_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin/multitalk"
    assert run(command, "--version", cwd=tmp_path) == f"multitalk {__version__}\n"
    fields = ("size=[64,64]", "steps=1", "max_seconds=0.3", "frames_per_clip=9", "motion_frames=5")
    small = [word for field in fields for word in ("--set", field)]
    files = ["--image", EXAMPLE[0], "--audio", EXAMPLE[1], "--output", "out.mp4"]
    assert run(command, "generate", *files, *small, cwd=tmp_path).startswith("out.mp4: ")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    report = run(command, "doctor", cwd=tmp_path)
    assert str(environment) in report
    assert re.search(r"ok +packages +(\d+) of \1 as required", report)


@pytest.mark.slow
def test_installed_package_makes_the_latents_of_the_checkout(environment: Path, tmp_path: Path) -> None:
    installed = run(environment / "bin/python", "-c", LATENTS, *EXAMPLE, cwd=tmp_path)
    checkout = run(
        sys.executable, "-c", LATENTS, *EXAMPLE, cwd=tmp_path, environment={"PYTHONPATH": str(ROOT)}
    )
    folders, clips, digests = zip(installed.split(), checkout.split(), strict=True)
    assert Path(folders[0]).is_relative_to(environment)
    assert Path(folders[1]) == ROOT / "multitalk"
    assert clips[0] == clips[1] != "0"
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", LOCKED)
def test_lock_has_what_the_project_asks_for(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = PIN.findall(text)
    assert len(pins) == len(re.findall(r"^[^#\s]", text, re.M))  # every entry has a version and hashes
    versions = {package: version for package, version, *_ in pins}
    assert "torch" not in versions
    # triton: only for the tests, which compile kernels
    of_torch = ("nvidia", "triton") if name == "requirements.txt" else ("nvidia",)
    assert not [package for package in versions if package.startswith(of_torch)]
    assert "//" not in text  # no package index and no folder is named
    for requirement in map(Requirement, LOCKED[name]):
        if requirement.name != "torch":
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_version_is_the_same_everywhere() -> None:
    for name, pattern in {
        "Dockerfile": r"^ARG VERSION=(.+)$",
        "docker-bake.hcl": r'^variable "VERSION" \{\n  default = "(.+)"$',
        "CITATION.cff": r"^version: (.+)$",
        "CHANGELOG.md": r"^## \[?([\d.]+)\]? ",
    }.items():
        found = re.findall(pattern, (ROOT / name).read_text(), re.M)
        assert found, name
        assert found[0] == __version__, name
        assert name != "Dockerfile" or set(found) == {__version__}
