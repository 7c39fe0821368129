"""With this folder on PYTHONPATH, loading the models waits until a file exists."""

from __future__ import annotations

import builtins
import os
import time
from typing import Any

real_import = builtins.__import__


# not a finder in sys.meta_path, which would block imports in all threads
def held_import(name: str, *more: Any, **options: Any) -> Any:
    while name.partition(".")[0] == "torch" and not os.path.exists(os.environ["MODELS_MAY_LOAD"]):
        time.sleep(0.05)
    return real_import(name, *more, **options)


builtins.__import__ = held_import
