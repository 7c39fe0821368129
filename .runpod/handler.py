"""What the Hub looks for in a repository; the image starts the same worker by itself."""

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.environ["MODE"] = "serverless"
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "app.py"), run_name="__main__")
