"""`python -m benchmarks.watch COMMAND...`: run a command, print its peak memory as JSON.

A process counts at least what the one that it was forked from held, so this one imports nothing heavy. Linux only.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        together = 0
        while process.poll() is None:
            with contextlib.suppress(OSError):  # a process ended meanwhile
                together = max(together, sum(map(_resident, _tree(process.pid))))
            time.sleep(0.05)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"exit": process.returncode, "largest": largest / 1e3, "together": together / 1e3}))


def _tree(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _resident(pid: int) -> int:
    """The process's share of memory in kB; pages that several hold are divided among them (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main(sys.argv[1:])
