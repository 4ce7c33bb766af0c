"""What was true of a Mac when a row began. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_billing.archive_format import MacFacts
from voxfleet_billing.instants import milliseconds_of

GIBIBYTE = 2**30


@dataclass(slots=True)
class Then:
    """What lines say of a Mac at a moment."""

    facts: MacFacts | None
    lessor: str = ""
    billing_key: str = ""
    sku: str = ""
    machine: str = ""
    """Chip and memory, for people."""

    @classmethod
    def of(cls, facts: MacFacts | None) -> Then:
        if facts is None:
            return cls(None)
        return cls(facts, facts.lessor or "", facts.billing_key or "", facts.sku or "", _machine(facts))


class FactsInTime:
    """What was true of a Mac at a moment: the last facts before it, of the machine that signed."""

    def __init__(self, facts: Sequence[MacFacts]) -> None:
        ordered = sorted(facts, key=lambda fact: milliseconds_of(fact.since))
        self.last = Then.of(ordered[-1] if ordered else None)
        self._by_lessor = {fact.lessor: Then.of(fact) for fact in ordered}
        self._by_hardware: dict[str, tuple[list[int], list[Then]]] = {}
        for fact in ordered:
            starts, found = self._by_hardware.setdefault(fact.hardware_id, ([], []))
            starts.append(milliseconds_of(fact.since))
            found.append(Then.of(fact))

    def last_of(self, lessor: str) -> Then:
        """When it was rented from this lessor."""
        return self._by_lessor.get(lessor, self.last)

    def at(self, moment: int, hardware_id: str) -> Then:
        """A row from before the first facts has those: its Mac's clock was wrong."""
        of_machine = self._by_hardware.get(hardware_id)
        if of_machine is None:
            return self.last
        starts, found = of_machine
        return found[max(0, bisect_right(starts, moment) - 1)]


def _machine(facts: MacFacts) -> str:
    memory = f"{facts.memory_bytes // GIBIBYTE} GiB" if facts.memory_bytes else ""
    return ", ".join(part for part in (facts.chip, memory) if part)
