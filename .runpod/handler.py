"""Entry point that the RunPod Hub looks for; the image starts the same worker itself."""

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.environ["MODE"] = "serverless"
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "app.py"), run_name="__main__")
