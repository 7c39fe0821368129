"""The findings of ``doctor`` and their format."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

from multitalk.cli import doctor, installation_checks
from multitalk.cli.doctor import examine
from multitalk.cli.installation_checks import Finding
from multitalk.cli.main import main
from multitalk.weights.folders import EMBEDDED_FOLDER


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_missing_weights_are_a_finding_and_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--weights", str(tmp_path / "nowhere")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Not ready: weights."
    assert any(line.startswith("missing weights") and "nowhere" in line for line in lines)


def test_this_machine_is_ready() -> None:
    found = by_name(examine())
    assert {"python", "torch", "plan", "ffmpeg", "weights", "packages"} <= set(found)
    for name in ("python", "torch", "plan", "ffmpeg", "packages"):
        assert found[name].state == "ok", found[name]
    assert "libx264" in found["ffmpeg"].text


def test_models_in_the_weights_are_listed(baked) -> None:
    assert by_name(examine(baked))["models"].text == "multitalk, infinitetalk-single, infinitetalk-multi"
    assert by_name(examine())["models"].text.startswith("multitalk")


def test_optional_parts_are_listed(baked) -> None:
    found = by_name(examine(baked))["optional"]
    assert found.text.startswith("fast decoder")
    demo = by_name(examine(EMBEDDED_FOLDER))["optional"]
    assert demo.state == "note"
    assert demo.text.startswith("missing: fast decoder, voice separator. Fetch and bake")


def test_the_preset_of_a_slow_device_is_named(baked) -> None:
    texts = [finding.text for finding in examine(baked) if finding.name == "weights"]
    assert "default preset quality (fast if the device is slow)" in texts[0]


def test_packages_with_other_versions_are_reported(tmp_path, monkeypatch) -> None:
    required = tmp_path / "requirements.txt"
    required.write_text("numpy==0.1  # another\nmultitalk-of-nowhere==1\npillow>=1\n")
    monkeypatch.setattr(installation_checks, "REQUIREMENTS", required)
    found = by_name(examine())
    assert found["packages"].state == "note"
    assert found["packages"].text == "1 of 3 as required"
    assert found["numpy"].state == "note"
    assert "tested with ==0.1" in found["numpy"].text
    assert found["multitalk-of-nowhere"].state == "missing"


def test_the_voices_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--voices"]) == 0
    voices, languages = capsys.readouterr().out.splitlines()
    assert voices.startswith("espeak-ng's voices: ")
    assert {"f2", "m3"} <= set(voices.split(": ")[1].split(", "))
    assert "a (English, American), " in languages
    assert ", de (German), " in languages


def test_the_plans_of_every_gpu_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--plans"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("T4", "A100", "H200", "RTX 5090", "480p", "720p"))


def test_lines_are_aligned_and_end_with_a_conclusion(monkeypatch, capsys) -> None:
    findings = [Finding("ok", "python", "3.11"), Finding("note", "gpu", "none")]
    monkeypatch.setattr(doctor, "examine", lambda weights: iter(findings))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok      python    3.11",
        "note    gpu       none",
        "Ready to generate videos.",
    ]
    findings.append(Finding("missing", "a-long-package", "y"))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "missing a-long-package y",
        "Not ready: a-long-package.",
    ]


def test_packages_are_compared_with_the_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        "# comment\n-r other.txt\nnumpy\npillow<1  # ancient\nnot-a-package-of-anybody==1\n"
        "av; python_version < '3'\n"
    )
    monkeypatch.setattr(installation_checks, "REQUIREMENTS", requirements)
    found = by_name(examine())
    assert found["packages"].text == "1 of 3 as required"
    assert (found["pillow"].state, found["not-a-package-of-anybody"].state) == ("note", "missing")
    assert "make setup" in found["not-a-package-of-anybody"].text


def test_installed_package_is_compared_with_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def requires(name: str) -> list[str]:
        if not required:
            raise metadata.PackageNotFoundError(name)
        return required

    monkeypatch.setattr(installation_checks, "REQUIREMENTS", tmp_path / "nowhere")
    monkeypatch.setattr(installation_checks.metadata, "requires", requires)
    required = ["numpy", "pillow<1", "not-a-package-of-anybody; extra == 'ui'"]
    found = by_name(examine())
    assert found["packages"].text == "1 of 2 as required"
    assert "not-a-package-of-anybody" not in found
    required = []
    assert by_name(examine())["packages"].state == "note"


def test_every_package_of_the_lock_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.txt"
    hashes = " \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"
    lock.write_text(
        f"# made by\nnumpy==0.1{hashes}pillow==99 ; sys_platform == 'none'{hashes}psutil>=1{hashes}"
    )
    monkeypatch.setattr(installation_checks, "REQUIREMENTS", lock)
    assert by_name(examine())["packages"].text == "1 of 2 as required"


def test_a_failing_check_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise OSError(f"{name}:\nlibrary damaged")

    monkeypatch.setattr(installation_checks.importlib, "import_module", broken)
    found = by_name(examine())
    assert found["ffmpeg"].state == "missing"
    assert "\n" not in found["ffmpeg"].text
