"""Imports without unused modules: what is left out, and that it is there when it is used."""

from __future__ import annotations

import sys
import threading

import pytest

from multitalk.patches.imports import changed, deferred, lazy
from tests.fresh_process import run_script


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose ``__init__`` imports one of its modules and writes down that it ran."""
    folder = tmp_path / "package_of_two"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .heavy import NAME\nRUNS = []\nRUNS.append(1)\n")
    (folder / "heavy.py").write_text("NAME = 'heavy'\n")
    (folder / "light.py").write_text("NAME = 'light'\ndef name():\n    return NAME\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield "package_of_two"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_deferred_package_runs_at_the_first_use_of_a_name(package):
    with deferred([package]):
        from package_of_two.light import NAME
    assert NAME == "light"
    assert "package_of_two.heavy" not in sys.modules
    import package_of_two

    assert package_of_two.__name__ == package
    assert "package_of_two.heavy" not in sys.modules
    found = []
    threads = [threading.Thread(target=lambda: found.append(package_of_two.RUNS)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1]] * 4
    assert package_of_two.NAME == "heavy"
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        _ = package_of_two.missing


def test_a_lazy_package_runs_before_its_first_module(package):
    with lazy([package]):
        import package_of_two
    assert "RUNS" not in vars(package_of_two)
    from package_of_two.light import NAME

    assert NAME == "light"
    assert "package_of_two.heavy" in sys.modules
    assert package_of_two.RUNS == [1]


def test_a_module_is_changed_before_it_is_used(package):
    with changed("package_of_two.light", NAME="changed"):
        from package_of_two.light import name
    assert name() == "changed"


GRADIO = """
import sys
from pathlib import Path
from multitalk.ui.server import import_gradio
import_gradio()
import gradio
from gradio.components import Textbox
print("pandas.core" in sys.modules)
with gradio.Blocks() as page:
    table = gradio.Dataframe(value=[[1, 2]])
print("pandas.core" in sys.modules, gradio.Textbox is Textbox)
"""


def test_gradio_is_imported_without_pandas():
    assert run_script(GRADIO).split() == ["False", "True", "True"]


RUNPOD = """
import sys
from multitalk.patches.imports import narrow_runpod
with narrow_runpod():
    import runpod
print(any(name in sys.modules for name in ("cpuinfo", "paramiko", "runpod.cli.groups.ssh")))
from runpod.serverless.utils import rp_debugger
print(rp_debugger.PROCESSOR == "Unable to get processor info.")
import runpod.cli
print(runpod.cli.ssh.__name__, "paramiko" in sys.modules)
"""


def test_runpod_is_imported_without_its_command_line():
    assert run_script(RUNPOD).split() == ["False", "True", "runpod.cli.groups.ssh", "True"]
