"""Imports without what a start doesn't need: what is left out is there for who asks for it."""

from __future__ import annotations

import gc
import sys

import pytest

from multitalk.lean_imports import hollow_packages, quick_imports
from tests.fresh_process import run_script


def test_a_hidden_package_is_back_afterwards():
    script = """
import importlib.util, sys
from multitalk.lean_imports import quick_imports
import json as loaded
with quick_imports(["scipy", "json"]):
    assert importlib.util.find_spec("scipy") is None
    import json
    assert json is loaded  # what is imported already stays
    try:
        import scipy
    except ImportError:
        print("hidden")
import scipy
print(scipy.__name__)
"""
    assert run_script(script).split() == ["hidden", "scipy"]


def test_quick_imports_leaves_everything_as_it_was_after_an_error():
    before = gc.isenabled()
    with pytest.raises(ValueError, match="x"), quick_imports(["a_package_that_is_not_there"]):
        raise ValueError("x")
    assert gc.isenabled() == before
    assert "a_package_that_is_not_there" not in sys.modules


def test_runpod_comes_without_its_command_line_and_with_it_later():
    script = """
import sys
from multitalk.lean_imports import RUNPOD_COMMAND_LINE, hollow_packages
with hollow_packages(RUNPOD_COMMAND_LINE):
    import runpod
print(runpod.check_credentials.__module__, "paramiko" in sys.modules, "runpod.cli" in sys.modules)
import runpod.cli.groups.config.functions
import runpod.cli.groups.ssh.functions
print("paramiko" in sys.modules, callable(runpod.cli.groups.config.functions.check_credentials))
"""
    assert run_script(script).split() == [
        "runpod.cli.groups.config.functions",
        "False",
        "False",
        "True",
        "True",
    ]


def test_a_package_that_is_loaded_or_not_there_is_left_as_it_is():
    import multitalk.media as loaded

    with hollow_packages(["multitalk.media", "multitalk.no_such_package", "no_such_package.either"]):
        assert sys.modules["multitalk.media"] is loaded
        assert "multitalk.no_such_package" not in sys.modules
        assert "no_such_package.either" not in sys.modules
    assert sys.modules["multitalk.media"] is loaded


def test_a_hollow_package_goes_after_an_error():
    with pytest.raises(ValueError, match="x"), hollow_packages(["lib2to3"]):
        raise ValueError("x")
    assert "lib2to3" not in sys.modules
