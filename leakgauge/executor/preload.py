"""What the server of the workers imports once: whatever takes an audit long to import, and starts no thread."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress

# As "python -c", which the server is, looks here first: a file of the user's must not pass for a module. Workers get their path
# from whoever asks.
sys.path[:] = [folder for folder in sys.path if folder]

# torch._dynamo is imported by the first optimizer of torch that is made: a second, in every worker.
for _name in ("torch", "torch._dynamo", "leakgauge.auditing.pipeline", "leakgauge.spec", "leakgauge.results.store"):
    with suppress(Exception):  # what cannot be imported is told where it is needed
        importlib.import_module(_name)
