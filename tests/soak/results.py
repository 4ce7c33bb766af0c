"""The results file: every run that was done, by part and seed, and their sums."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.findings import Findings

Entry = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One run. `struck` and `places` are its faults in full and by what is counted."""

    seed: int
    seconds: float
    struck: Sequence[str]
    not_met: Sequence[str]
    """The run passed them by: what they wait for did not come, or an earlier fault took it away."""
    places: Sequence[str]
    """Where or how each of `struck` struck."""
    findings: Findings
    takeovers: int = 0
    """Shards that another Mac finished for a lost one."""
    notes: Sequence[str] = ()

    def entry(self) -> Entry:
        found = self.findings
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "struck": list(self.struck),
            "notMet": list(self.not_met),
            "places": list(self.places),
            "takeovers": self.takeovers,
            "clean": found.clean,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "repeated": found.repeated,
            "doubleBilledSeconds": found.double_billed_seconds,
            "residueBytes": found.residue_bytes,
            "failures": found.failures,
            "notes": list(self.notes),
        }


class PartResults:
    """One part of the results file, written after each run: a call that is stopped loses only the runs that go on.

    Runs of other code are forgotten: `code` is a digest of it.
    """

    def __init__(self, path: Path, part: str, code: str, places: Iterable[str], *, again: bool = False) -> None:
        """`places` are all that the part can strike. `again`: forget what was run before."""
        self._path = path
        self._part = part
        self._code = code
        self._places = tuple(places)
        found = {} if again else self._others().get(part, {})
        self._entries: list[Entry] = [entry for entry in found.get("each", []) if entry["code"] == code]

    @property
    def summary(self) -> Entry:
        return summary(self._entries, self._places)

    def done(self, seeds: Iterable[int]) -> list[Entry]:
        wanted = set(seeds)
        return [entry for entry in self._entries if entry["seed"] in wanted]

    def add(self, outcome: Outcome) -> Entry:
        entry = {**outcome.entry(), "code": self._code}
        others = [one for one in self._entries if one["seed"] != outcome.seed]
        self._entries = sorted([*others, entry], key=lambda one: int(one["seed"]))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".part")
        new.write_text(json.dumps({**self._others(), self._part: self.summary}, indent=2) + "\n", encoding="utf-8")
        new.replace(self._path)
        return entry

    def _others(self) -> Entry:
        content: Entry = json.loads(self._path.read_text()) if self._path.exists() else {}
        return content


def summary(entries: Sequence[Entry], places: Iterable[str]) -> Entry:
    struck = Counter(place for entry in entries for place in entry["places"])
    return {
        "runs": len(entries),
        "seeds": [entry["seed"] for entry in entries],
        "kills": struck.total(),
        "killsNotMet": sum(len(entry["notMet"]) for entry in entries),
        "killsByPlace": {place: struck[place] for place in places},
        "runsWithTakeover": sum(entry["takeovers"] > 0 for entry in entries),
        "lost": sum(entry["lost"] for entry in entries),
        "duplicated": sum(entry["duplicated"] for entry in entries),
        "repeated": sum(entry["repeated"] for entry in entries),
        "doubleBilledSeconds": round(sum(entry["doubleBilledSeconds"] for entry in entries), 3),
        "residueBytes": sum(entry["residueBytes"] for entry in entries),
        "failures": [f"seed {entry['seed']}: {text}" for entry in entries for text in entry["failures"]],
        "each": list(entries),
    }


def code_digest(repository: Path, patterns: Iterable[str]) -> str:
    """Of everything that decides how a run goes."""
    found = hashlib.sha256()
    for pattern in patterns:
        for file in sorted(repository.glob(pattern)):
            found.update(str(file.relative_to(repository)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]
