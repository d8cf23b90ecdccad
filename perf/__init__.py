"""Benchmarks: `python -m perf`. README.md has the figures."""
