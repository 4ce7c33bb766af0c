"""The one error of the benchmarks."""

from __future__ import annotations


class MeasurementFailed(RuntimeError):
    """Something could not be measured; the message says what and why."""
