"""Exact sliding windows: how much of a rate limit or a budget is used, and the atomic reservation of all limits of a call.

What counts them is chosen by `cra.hotpath`; `cra.reference.sliding_windows` says how. PROTOCOL: Limits.
"""

from cra.hotpath import Reservation, SlidingWindows, Watches
from cra.reference.sliding_windows import MAX_BUDGET_ENTRIES, Charge, LimitReached, LimitState

__all__ = ["MAX_BUDGET_ENTRIES", "Charge", "LimitReached", "LimitState", "Reservation", "SlidingWindows", "Watches"]
