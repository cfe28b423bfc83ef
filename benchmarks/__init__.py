"""Measurements of leakgauge, one module each; `python -m benchmarks` runs them (see docs/benchmarks.md)."""

import os

# On a machine that does anything else, threads that spin while they wait multiply the time of a step, by ten and more. OpenMP
# reads this when torch is imported; child processes inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
