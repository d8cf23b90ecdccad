"""Clocks and sliding-window limits."""
