"""Stores the ladders of this Mac, one file each: those that it measured, and those that it was handed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from voxfleet_agent.durable_files import replace_file
from voxfleet_agent.ladder import knees, measure
from voxfleet_agent.ladder.ladder_profile import LadderProfile
from voxfleet_agent.ladder.measure import LongestClips
from voxfleet_agent.lanes.lane_types import Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.contract_limits import Ladder
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes

MAX_TABLES = 500
"""The most files that are kept; the least recently written are deleted first."""

_log = structlog.get_logger(__name__)


class UnreadableLadderError(Exception):
    """A stored ladder is damaged or cannot be opened."""


class LadderFiles:
    """A folder of ladder tables, named `<digest of the key>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> LadderTable | None:
        file = self.folder / f"{key}.json"
        try:
            return _read(file)
        except UnreadableLadderError:
            _log.warning("a ladder cannot be read; it is measured anew when it is needed", file=file.name)
            return None

    def all(self) -> tuple[list[LadderTable], list[str]]:
        """Returns (every table, latest first; the names of unreadable files)."""
        tables: list[LadderTable] = []
        unreadable: list[str] = []
        for _, file in self._files():
            try:
                table = _read(file)
            except UnreadableLadderError:
                unreadable.append(file.name)
            else:
                tables += [] if table is None else [table]
        return tables, unreadable

    def written(self) -> list[tuple[str, int]]:
        """(key, time of its last change) of every table, latest first."""
        return [(file.stem, at) for at, file in self._files()]

    def put(self, key: str, table: LadderTable) -> None:
        """Replaces the file atomically and durably."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.folder / f"{key}.json", table.model_dump_json(by_alias=True, exclude_none=True).encode())
        others = [file for _, file in self._files() if file.stem != key]
        for surplus in others[MAX_TABLES - 1 :]:
            surplus.unlink(missing_ok=True)

    def forget(self, tables: Sequence[LadderTable]) -> None:
        """Deletes the files of these tables. Raises OSError."""
        for _, file in self._files():
            with contextlib.suppress(UnreadableLadderError):
                if _read(file) in tables:
                    file.unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, Path]]:
        dated: list[tuple[int, str, Path]] = []
        for file in self.folder.glob("[!.]*.json"):
            with contextlib.suppress(FileNotFoundError):  # another process may delete files meanwhile
                dated.append((file.stat().st_mtime_ns, file.name, file))
        return [(at, file) for at, _, file in sorted(dated, reverse=True)]


class MacLadderBook:
    """Implements `stages.stage_context.LadderBook`. Measures one ladder at a time: two would disturb each other."""

    def __init__(
        self, folder: Path, chip: str, versions: Mapping[str, str], memory_cap_bytes: int, dtype_rule: str
    ) -> None:
        """`versions`: those of this Mac's packages. `memory_cap_bytes`: the cap per lane. `dtype_rule`: what models
        compute in on this Mac (engine.compute_dtype)."""
        self.files = LadderFiles(folder)
        self.profile = LadderProfile.of(chip, versions, memory_cap_bytes, dtype_rule)
        self._measuring = asyncio.Lock()
        self._stepping_down = asyncio.Lock()

    async def table(
        self, lane: Lane, model: ResolvedModel, spec: LaneSpec, longest: LongestClips
    ) -> LadderTable | None:
        """See `stage_context.LadderBook`. Also None for Synthesize, which takes one text at a time, and when no clip
        can be measured. For a model that works on one clip at a time the table has no tiers, and no clip is fetched.
        Raises VoxFleetError as Lane.load and Lane.work do, and what `longest` raises."""
        ladder = spec.contract.batching.ladder
        if spec.task is Task.SYNTHESIZE:
            return None
        contract_digest = digest_of(spec.contract)
        stored = await asyncio.to_thread(self.stored, model, contract_digest)
        if stored is not None or ladder is None:
            return stored
        async with self._measuring:
            # Another attempt may have measured it meanwhile.
            stored = await asyncio.to_thread(self.stored, model, contract_digest)
            if stored is not None:
                return stored
            measured = await self._measure(lane, model, spec, longest, ladder)
            if measured.loaded_model.batches and not measured.tiers:
                _log.warning("no ladder: no clip could be measured", model=model.digest, contract=contract_digest)
                return None
            return await self._store(self._make_table(model, spec, contract_digest, measured), model)

    def stored(self, model: ResolvedModel, contract_digest: str) -> LadderTable | None:
        table = self.files.get(self.profile.key(model.digest, contract_digest))
        return table if table is not None and self.profile.holds_for(table, model.digest, contract_digest) else None

    async def step_down(self, model: ResolvedModel, contract_digest: str, batch_size: int, reason: str) -> None:
        """See `stage_context.LadderBook`. Does nothing without a table or if its batch size is as small already."""
        async with self._stepping_down:
            table = await asyncio.to_thread(self.stored, model, contract_digest)
            if table is None or table.chosen <= batch_size:
                return
            lower = table.model_copy(update={"chosen": batch_size, "stepped_down_for": reason})
            try:
                await asyncio.to_thread(self.files.put, self.profile.key(model.digest, contract_digest), lower)
            except OSError as error:
                _log.warning("a ladder's smaller batch size cannot be stored", reason=error.strerror)
            else:
                _log.info("ladder stepped down", model=model.digest, contract=contract_digest, chosen=batch_size)

    async def _measure(
        self, lane: Lane, model: ResolvedModel, spec: LaneSpec, longest: LongestClips, ladder: Ladder
    ) -> measure.MeasuredLadder:
        _log.info("measuring a ladder", model=model.digest)
        sizes = range(ladder.from_, ladder.to + 1)
        return await measure.measure_ladder(lane, model, spec, longest, sizes, self._cap_bytes(spec))

    async def _store(self, table: LadderTable, model: ResolvedModel) -> LadderTable:
        try:
            await asyncio.to_thread(self.files.put, self.profile.key(model.digest, table.contract_digest), table)
        except OSError as error:
            _log.warning("the ladder cannot be stored and will be measured again", reason=error.strerror)
        _log.info("ladder", model=model.digest, contract=table.contract_digest, why=knees.explain(table))
        return table

    def _make_table(
        self, model: ResolvedModel, spec: LaneSpec, contract_digest: str, measured: measure.MeasuredLadder
    ) -> LadderTable:
        tail_p95 = spec.contract.slo.offline_tail_p95
        tail_p95_milliseconds = None if tail_p95 is None else duration_milliseconds(tail_p95)
        cap_bytes = self._cap_bytes(spec)
        decided = knees.decide_knees(measured.tiers, cap_bytes, tail_p95_milliseconds) if measured.tiers else knees.ONE
        loaded = measured.loaded_model
        return LadderTable(
            model_digest=model.digest,
            contract_digest=contract_digest,
            chip=self.profile.chip,
            versions=dict(self.profile.versions),
            sample_rate_hz=loaded.sample_rate_hz,
            memory_cap_bytes=cap_bytes,
            tail_p95_milliseconds=tail_p95_milliseconds,
            dtype=loaded.dtype,
            family=loaded.family,
            parameters=loaded.parameters,
            tiers=measured.tiers,
            memory_knee=decided.memory,
            latency_knee=decided.latency,
            throughput_knee=decided.throughput,
            chosen=decided.throughput,
        )

    def _cap_bytes(self, spec: LaneSpec) -> int:
        declared = spec.contract.batching.memory_cap
        cap_bytes = self.profile.memory_cap_bytes
        return cap_bytes if declared is None else min(quantity_bytes(declared), cap_bytes)


def short(digest: str) -> str:
    """A prefix of a digest that is long enough to distinguish the ladders of one Mac."""
    return digest.removeprefix("sha256:")[:8]


def parse_table(content: bytes | str) -> LadderTable:
    """The measurement, with the knees that follow from it, whatever the content says of them.

    Raises ValueError, which pydantic.ValidationError is, for what is no table or has no tiers in their order.
    """
    table = LadderTable.model_validate_json(content)
    if table.one_clip_at_a_time:
        return table
    decided = knees.decide_knees(table.tiers, table.memory_cap_bytes, table.tail_p95_milliseconds)
    stepped_down = table.stepped_down_for is not None
    return table.model_copy(
        update={
            "memory_knee": decided.memory,
            "latency_knee": decided.latency,
            "throughput_knee": decided.throughput,
            "chosen": min(table.chosen, decided.throughput) if stepped_down else decided.throughput,
        }
    )


def _read(file: Path) -> LadderTable | None:
    """None when there is no such file. Raises UnreadableLadderError."""
    try:
        return parse_table(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnreadableLadderError(file.name) from error
