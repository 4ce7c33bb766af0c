"""What Flux says of an object by a Kustomization's healthCheckExprs, evaluated as kustomize-controller evaluates them.

A stale status is in progress; then inProgress, failed and current are asked, in this order, and what none of them is
true of is in progress too. The expressions see the fields of the object as variables, and an error fails the check.
"""

from __future__ import annotations

from collections.abc import Mapping

import cel

_IN_ORDER = (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current"))


class HealthCheck:
    def __init__(self, expressions: Mapping[str, str]) -> None:
        self._programs = [
            (cel.compile(expressions[field]), status) for field, status in _IN_ORDER if field in expressions
        ]

    def status(self, manifest: Mapping[str, object]) -> str:
        """Raises what the interpreter raises for a field that is not there."""
        status, metadata = manifest.get("status"), manifest["metadata"]
        assert isinstance(metadata, dict)
        if isinstance(status, dict) and status.get("observedGeneration") != metadata.get("generation"):
            return "InProgress"
        for program, answer in self._programs:
            holds = program.execute(dict(manifest))
            assert isinstance(holds, bool), f"{holds!r} is neither true nor false"
            if holds:
                return answer
        return "InProgress"
