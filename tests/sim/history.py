"""What truly happened in a run, as nobody inside it can see it. Invariants are checked against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import SignedRow


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a machine worked on an attempt and had not been told to stop."""

    key: AttemptKey
    hardware: str
    began: float
    ended: float
    continued: bool = False
    """It goes on after its machine slept, and nobody began it anew."""


@dataclass(frozen=True, slots=True)
class PaidTime:
    """A signed row and the metered milliseconds of its machine that it stands for."""

    signed: SignedRow
    began_milliseconds: int
    ended_milliseconds: int


@dataclass
class History:
    now: Callable[[], float]
    spans: list[Span] = field(default_factory=list)
    accepted: dict[AttemptKey, set[str]] = field(default_factory=dict)
    """The machines that took each attempt."""
    paid: list[PaidTime] = field(default_factory=list)
    largest_status_bytes: Counter[str] = field(default_factory=Counter)
    """By kind."""
    broken: list[str] = field(default_factory=list)
    """What a modelled part saw that must never be."""
    trace: list[str] | None = None
    assignments: dict[AttemptKey, float] = field(default_factory=dict)
    """When the write that assigned an attempt was sent, of those that the API server took."""
    _open: dict[tuple[str, AttemptKey], tuple[float, bool]] = field(default_factory=dict)
    _decided: dict[tuple[str, AttemptKey], float] = field(default_factory=dict)
    """When a machine decided to stop work that goes on until it is stopped."""

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now():10.3f} {text}")

    def work_began(self, hardware: str, key: AttemptKey, *, continued: bool = False) -> None:
        self._open[hardware, key] = (self.now(), continued)

    def work_ended(self, hardware: str, key: AttemptKey) -> None:
        began, ended = self._open.pop((hardware, key), None), self._decided.pop((hardware, key), self.now())
        if began is not None:
            self.spans.append(Span(key, hardware, began[0], ended, began[1]))

    def work_will_end(self, hardware: str, key: AttemptKey) -> None:
        """Nothing is recorded of what the machine does from now on."""
        if (hardware, key) in self._open:
            self._decided.setdefault((hardware, key), self.now())

    def machine_stopped(self, hardware: str) -> list[AttemptKey]:
        """Ends the machine's spans; returns the attempts that it worked on."""
        working = [key for machine, key in self._open if machine == hardware]
        for key in working:
            self.work_ended(hardware, key)
        return working

    def working(self) -> set[str]:
        """The machines that work now."""
        return {hardware for hardware, _ in self._open}

    def close(self) -> None:
        for hardware, key in list(self._open):
            self.work_ended(hardware, key)
