"""Power cuts: real runs are recorded call by call, and every folder that a cut may leave is built, opened and held against what
was acknowledged. `python -m tests.fault.power --states 100000` is the long run; `tests/fault/test_power.py` the short one.
"""
