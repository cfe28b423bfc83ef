"""One thread per test process: the results are the same to the bit, and two processes do not fight for two cores."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

# A job that a shell starts in the background ignores Ctrl-C, and its children inherit that; the tests of Ctrl-C need it back.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Checkpoints of one test are no other test's."""
    monkeypatch.setenv("LEAKGAUGE_CACHE", str(tmp_path / "cache"))
