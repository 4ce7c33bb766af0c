"""The store that all Macs write to: plans, parts, commits and results, each written once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass, field

from voxfleet_api.attempt_spec import AttemptKey, FinalizeSpec, PlanSource
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.ranges import decode
from voxfleet_api.results import Counts

Rows = dict[int, str]
"""Clip index to outcome: `succeeded` or `quarantined`."""


@dataclass(frozen=True, slots=True)
class StoredCommit:
    sha256: str
    rows: Rows


OUTCOMES = {SourceSelect.QUARANTINED: "quarantined", SourceSelect.NOT_RUN: "not_run", SourceSelect.FAILED: "failed"}


class ResultsRefused(Exception):
    """Finalize cannot account for every clip exactly once."""


@dataclass
class ObjectStore:
    bases: dict[AttemptKey, Rows] = field(default_factory=dict)
    """The rows of the parts that an attempt took over whole."""
    parts: dict[AttemptKey, Rows] = field(default_factory=dict)
    """What an attempt delivered itself."""
    commits: dict[AttemptKey, StoredCommit] = field(default_factory=dict)
    results: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    """By job UID: the rows of each clip."""
    indexes: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    """By the digest of an index.json: the rows of each clip."""
    rewritten: list[AttemptKey] = field(default_factory=list)

    def inherited(self, key: AttemptKey, split_from: tuple[str, ...], clips: Container[int]) -> tuple[Rows, Rows]:
        """(rows of parts that lie within the clips, rows of other parts) of the newest earlier attempt with a base.

        As agents do, it looks at the shards that this one was split from only if no attempt of its own has a base.
        """
        for shard_uid in (key.shard_uid, *split_from):
            earlier = [other for other in self.bases if other.shard_uid == shard_uid and other.attempt < key.attempt]
            if not earlier:
                continue
            newest, whole, kept = max(earlier), Rows(), Rows()
            for part in (self.bases[newest], self.parts.get(newest, {})):
                usable = {index: outcome for index, outcome in part.items() if index in clips}
                (whole if len(usable) == len(part) else kept).update(usable)
            return whole, kept
        return {}, {}

    def commit(self, key: AttemptKey, rows: Rows) -> str:
        """Returns the digest of the commit; the same rows again change nothing."""
        content = json.dumps([*key, sorted(rows.items())])
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        known = self.commits.setdefault(key, StoredCommit(sha256, dict(rows)))
        if known.sha256 != sha256:
            self.rewritten.append(key)
        return sha256

    def finalize(self, job_uid: str, order: FinalizeSpec) -> tuple[str, Counts]:
        """Merges the named commits. Raises ResultsRefused."""
        merged: dict[int, list[str]] = {}
        for ref in order.commits:
            commit = self.commits.get(AttemptKey(ref.shard_uid, ref.attempt))
            if commit is None or commit.sha256 != ref.sha256:
                raise ResultsRefused(f"commit {ref.shard_uid}.{ref.attempt} is not what was named")
            for index, outcome in commit.rows.items():
                merged.setdefault(index, []).append(outcome)
        for index in decode(order.not_run):
            merged.setdefault(index, []).append("not_run")
        if sorted(merged) != list(range(order.total)) or any(len(rows) != 1 for rows in merged.values()):
            raise ResultsRefused("a clip has no row or two")
        sha256 = hashlib.sha256(json.dumps([job_uid, *sorted(merged.items())]).encode()).hexdigest()
        self.results[job_uid] = self.indexes[sha256] = merged
        outcomes = [rows[0] for rows in merged.values()]
        counts = Counts(**{name: outcomes.count(name) for name in ("succeeded", "quarantined", "not_run")})
        return sha256, counts

    def left_by(self, source: PlanSource) -> int:
        """How many clips of an ended job run again."""
        rows = self.indexes[source.index_sha256].values()
        return sum(outcomes == [OUTCOMES[source.select]] for outcomes in rows)
