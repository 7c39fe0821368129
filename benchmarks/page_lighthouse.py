"""Lighthouse's scores of the page that is open: ``python -m benchmarks.page_lighthouse [URL]``.

Prints the accessibility score and the layout shift. Lighthouse is fetched from npm in a fixed version, and
runs on an emulated phone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

PACKAGE = "lighthouse@12.8.2"  # later versions need Node 22
CHROMIUM = shutil.which("chromium") or "chromium"


def main(url: str) -> None:
    """Run Lighthouse and print the scores, and what lowers them."""
    command = [*("npx", "--yes", PACKAGE, url, "--output=json", "--quiet")]
    command += ["--only-categories=accessibility,performance"]
    command += ["--chrome-flags=--headless=new --no-sandbox --disable-gpu"]
    environment = {**os.environ, "CHROME_PATH": CHROMIUM}
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    report = json.loads(run.stdout)
    audits, accessibility = report["audits"], report["categories"]["accessibility"]
    print("accessibility:", accessibility["score"])
    print("layout shift:", round(audits["cumulative-layout-shift"]["numericValue"], 4))
    for reference in accessibility["auditRefs"]:
        audit = audits[reference["id"]]
        if audit["score"] not in (None, 1):
            print("not passed:", audit["title"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
