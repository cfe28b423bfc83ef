"""The plugin, in a pytest of its own: a leak fails a suite, and so does an audit that cannot tell."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

SUITE = """
import torch
from torch import nn

from leakgauge.data.photographs import Photographs

POOL = Photographs(size=8).load()
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 10))
PUBLIC = (POOL.x[20:], POOL.y[20:])
GIVEN = {"model": net, "batch": (POOL.x[:1], POOL.y[:1]), "public": PUBLIC, "attack": "analytic", "device": "cpu"}
NOISE = [{"name": "gaussian_noise", "sigma": 10.0}]


def test_leak(leak_audit):
    leak_audit(**GIVEN)


def test_allowed(leak_audit):
    assert leak_audit(**GIVEN, policy={"forbid": []}).verdict.outcome == "leaks"


def test_unsure(leak_audit):
    leak_audit(**{**GIVEN, "public": None}, defenses=NOISE)


def test_unsure_and_allowed(leak_audit):
    leak_audit(**{**GIVEN, "public": None}, defenses=NOISE, policy={"inconclusive": "allow"})


def test_file(leak_audit):
    leak_audit("audit.yaml", policy="policy.yaml")


def test_neither(leak_audit):
    leak_audit()
"""
AUDIT = {
    "data": {"name": "photographs", "size": 8},
    "batch": {"size": 1},
    "victim": "mlp",
    "threat": "informed",
    "attack": "analytic",
}


def test_a_leak_fails_a_suite(tmp_path):
    (tmp_path / "test_ours.py").write_text(SUITE)
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
    (tmp_path / "policy.yaml").write_text("max: {psnr: 10}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-rfE", "test_ours.py"]
    wide = {**os.environ, "COLUMNS": "400"}
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200, env=wide).stdout
    lines = {
        name: next((line for line in said.splitlines() if f"test_ours.py::{name} " in line), "")
        for name in ("test_leak", "test_allowed", "test_unsure", "test_unsure_and_allowed", "test_file", "test_neither")
    }
    assert "leakgauge fails: The verdict 'leaks' is forbidden" in lines["test_leak"]
    assert "leakgauge cannot tell" in lines["test_unsure"]
    assert "leakgauge fails" in lines["test_file"]
    assert "UsageError" in lines["test_neither"]
    assert not lines["test_allowed"]
    assert not lines["test_unsure_and_allowed"]
    assert "2 passed" in said


def test_the_plugin_is_light():
    code = "import sys, leakgauge.pytest_plugin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
