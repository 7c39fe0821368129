"""The scripts that `make setup` and `make image` call, with stand-ins for what a machine may have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from multitalk import __version__

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "env", "uname", "dirname", "sed", "df", "awk", "git", "true")
VERSION = "import sys; sys.version_info = ({}, 0, 'final', 0); exec(sys.argv.pop(1))"


class Machine:
    """A PATH with a few commands, and the scripts run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.log = folder / "calls"
        for tool in TOOLS:
            self.add(tool, f'exec {shutil.which(tool)} "$@"')  # no link, through which `add` would write

    def add(self, name: str, script: str = "true") -> None:
        path = self.folder / name
        path.unlink(
            missing_ok=True
        )  # a tool of TOOLS is a link: what is written through it replaces the real one
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def add_python(self, name: str, version: str) -> None:
        self.add(name, f'exec {sys.executable} -c "{VERSION.format(version)}" "$2"')

    def add_docker(self, *, root: Path | str = "/", images: str = "", broken: str = "nothing") -> None:
        """A docker that records its calls and variables, knows some images and fails at one command."""
        self.add(
            "docker",
            f"""[[ "$1 $2" != "{broken} "* && $1 != "{broken}" ]] || exit 1
            case "$1 $2" in
              "info --format") echo "{root}" ;;
              "context show") echo desktop ;;
              "image inspect") [[ " {images} " == *" $3 "* ]] ;;
              "info " | "buildx version") ;;
              *) printf '%s\\0' "$@" >>{self.log}; echo >>{self.log}
                echo "${{REGISTRY:-}} $PUSH $VERSION ${{SBOM_SCANNER:-}}" >>{self.log}.settings ;;
            esac""",
        )

    def calls(self) -> list[list[str]]:
        """The arguments of each call to docker that does something."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split("\0")[:-1] for line in lines]

    def settings(self) -> set[str]:
        """REGISTRY, PUSH, VERSION and SBOM_SCANNER, as the calls have them."""
        return set(Path(f"{self.log}.settings").read_text().splitlines())

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts" / script), *arguments]
        environment = {"PATH": str(self.folder)} | variables
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def refusal(self, script: str, *arguments: str, **variables: str) -> str:
        """The one sentence of a script that stops, without having done anything."""
        done = self.run(script, *arguments, **variables)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert self.calls() == []
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_first_suitable_python_is_found(machine: Machine) -> None:
    machine.add("python3.11", "exit 127")  # a shim of a version that is not installed
    machine.add_python("python3", "3, 13")
    assert "Python 3.11 or 3.12 with venv was not found. Install it" in machine.refusal("find_python.sh")
    machine.add_python("python", "3, 12")
    assert machine.run("find_python.sh").stdout == "python\n"
    machine.add_python("python3.12", "3, 12")
    assert machine.run("find_python.sh").stdout == "python3.12\n"


def test_python_that_is_named_is_taken_or_refused(machine: Machine) -> None:
    machine.add_python("mine", "3, 11")
    machine.add_python("old", "3, 10")
    assert machine.run("find_python.sh", "mine").stdout == "mine\n"
    assert "PYTHON is not Python 3.11 or 3.12 with venv (old)" in machine.refusal("find_python.sh", "old")


@pytest.fixture
def package_index() -> Iterator[str]:
    """The address of an index that has torch."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default builds are those for the CPU")
@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="this machine has an NVIDIA driver")
def test_cpu_builds_of_torch_without_a_driver(machine: Machine, package_index: str) -> None:
    here = {"TORCH_CPU_INDEX": package_index}
    assert machine.run("torch_index.sh", sys.executable, **here).stdout == f"{package_index}\n"
    assert machine.run("torch_index.sh", sys.executable, **here, CI="true").stdout == ""
    away = machine.run("torch_index.sh", sys.executable, TORCH_CPU_INDEX=f"{package_index}/nowhere")
    assert (away.returncode, away.stdout) == (0, "")
    assert "cannot be reached" in away.stderr
    machine.add("nvidia-smi")
    assert machine.run("torch_index.sh", sys.executable, **here).stdout == ""


def test_image_is_refused_before_anything_starts(machine: Machine, tmp_path: Path) -> None:
    assert "docker is not installed" in machine.refusal("image.sh", "build")
    machine.add_docker(broken="info")
    assert "daemon does not answer" in machine.refusal("image.sh", "build")
    machine.add_docker(broken="buildx")
    assert "no buildx" in machine.refusal("image.sh", "build")
    machine.add_docker(root=tmp_path)
    message = machine.refusal("image.sh", "build", NEEDED_GB="999999999")
    assert f"{tmp_path} has " in message
    assert "999999999 GB" in message
    assert "unknown precision (int4)" in machine.refusal("image.sh", "build", PRECISION="int4")
    assert "unknown stack (cu99)" in machine.refusal("image.sh", "build", STACK="cu99")
    assert "REGISTRY is not set" in machine.refusal("image.sh", "push")
    assert "multitalk:int8-cu124 is not built" in machine.refusal("image.sh", "push", REGISTRY="r")


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp8", "slim"])
def test_disk_that_a_build_needs_is_the_documented_one(machine: Machine, precision: str) -> None:
    machine.add("df", "echo; echo / 0 0 24000000 0 /")
    machine.add_docker()
    rows = [line.split("|") for line in (ROOT / "docs/IMAGE.md").read_text().splitlines() if "|" in line]
    column = [cell.strip() for cell in rows[0]].index(precision)
    (documented,) = (row[column].strip() for row in rows if row[1].strip() == "free disk for a build")
    needed = machine.refusal("image.sh", "build", PRECISION=precision)
    assert f"has 24 GB of free disk, and this build needs {documented}." in needed


def test_targets_of_the_bake_file_are_built_in_turn(machine: Machine) -> None:
    machine.add_docker()
    done = machine.run(
        "image.sh", "build", NEEDED_GB="0", PRECISION="bf16", STACK="cu128", HF_TOKEN="hf_token"
    )
    assert done.returncode == 0, done.stderr
    targets = ["base-cu128", "weights-bf16-cu128", "bf16-cu128"]
    assert machine.calls() == [["buildx", "bake", "--builder", "desktop", target] for target in targets]
    assert machine.settings() == {f" false {__version__} "}
    assert "docker run --gpus all -p 7860:7860 multitalk:bf16-cu128" in done.stdout


def test_slim_image_needs_no_weights(machine: Machine) -> None:
    machine.add_docker()
    assert machine.run("image.sh", "build", NEEDED_GB="0", PRECISION="slim").returncode == 0
    assert [call[-1] for call in machine.calls()] == ["base-cu124", "slim-cu124"]


@pytest.mark.parametrize(
    ("given", "scanner"),
    [
        ({}, "docker/buildkit-syft-scanner:stable-1"),
        ({"SBOM_SCANNER": ""}, ""),
        ({"SBOM_SCANNER": "mine:1"}, "mine:1"),
    ],
)
def test_images_are_pushed_with_an_sbom(machine: Machine, given: dict[str, str], scanner: str) -> None:
    machine.add_docker(images="multitalk:int8-cu124", root="[driver-type io.containerd.snapshotter.v1]")
    done = machine.run("image.sh", "push", REGISTRY="ghcr.io/you", **given)
    assert done.returncode == 0, done.stderr
    assert [call[-1] for call in machine.calls()] == ["base-cu124", "weights-int8-cu124", "int8-cu124"]
    assert machine.settings() == {f"ghcr.io/you true {__version__} {scanner}"}


def test_image_store_without_attestations_is_refused(machine: Machine) -> None:
    machine.add_docker(images="multitalk:int8-cu124", root="[[Backing Filesystem extfs]]")
    message = machine.refusal("image.sh", "push", REGISTRY="ghcr.io/you")
    assert "Enable the containerd image store" in message


def test_docker_s_disk_elsewhere_is_only_noted(machine: Machine) -> None:
    machine.add_docker(root="/a/folder/of/another/machine")
    done = machine.run("image.sh", "build")
    assert done.returncode == 0
    assert "make sure that Docker has 180 GB" in done.stderr
    assert len(machine.calls()) == 3
