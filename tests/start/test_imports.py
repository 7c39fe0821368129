"""Faster imports: hidden packages can be imported afterwards."""

from __future__ import annotations

import gc
import sys

import pytest

from multitalk.start.cold_start import quick_imports
from tests.fresh_process import run_script


def test_a_hidden_package_can_be_imported_afterwards():
    script = """
import importlib.util, sys
from multitalk.start.cold_start import quick_imports
import json as loaded
with quick_imports(["scipy", "json"]):
    assert importlib.util.find_spec("scipy") is None
    import json
    assert json is loaded  # packages that are already imported stay
    try:
        import scipy
    except ImportError:
        print("hidden")
import scipy
print(scipy.__name__)
"""
    assert run_script(script).split() == ["hidden", "scipy"]


def test_quick_imports_restores_everything_after_an_error():
    before = gc.isenabled()
    with pytest.raises(ValueError, match="x"), quick_imports(["a_package_that_is_not_there"]):
        raise ValueError("x")
    assert gc.isenabled() == before
    assert "a_package_that_is_not_there" not in sys.modules
