"""Memory that changes during a call: results may be wrong, the process must live."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("changing_memory.py")


def test_the_process_survives_changing_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT), "0.03"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
