"""Measurements of leakgauge, one module each; `python -m benchmarks` runs them (see docs/benchmarks.md)."""
