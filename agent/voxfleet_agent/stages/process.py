"""Process: transcribe a shard's clips, each at most once under an attempt, and deliver them in parts and one commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from voxfleet_agent import crash
from voxfleet_agent.stages.inherit import Part, inherit, parse_part
from voxfleet_agent.stages.outcome import counts, first_quarantined
from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.stage import ClipTask, ClipVerdict, FrozenPart, StageContext, Transcriber
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.failures import RULES, FailureClass, VoxFleetError
from voxfleet_api.protocol import ProcessOrder, ShardResult
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import (
    Base,
    ClipStatus,
    Commit,
    ManifestRow,
    PartRef,
    PlanFile,
    ResultRow,
    RowError,
    Timings,
    attempt_folder,
    part_name,
    plan_folder,
)

MANIFEST_LIMIT_BYTES = 256 << 20
FETCHED_AHEAD = 4
"""Clips in scratch that wait for the lane."""
PART_ROWS = 64
PART_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A clip that is in scratch, or the failure that stands in its place."""

    clip: ManifestRow
    path: Path | None
    sha256: str | None
    error: RowError | None
    fetch_milliseconds: int
    ready_at: float


async def run_process(ctx: StageContext) -> ShardResult:
    """Resumes wherever an earlier run of this very attempt stopped. Raises VoxFleetError."""
    order, lane = ctx.spec.process, ctx.transcriber
    if order is None or lane is None:
        raise ValueError("a Process attempt needs a process order and a lane")
    clips = await _read_plan(ctx, order)
    model = await ctx.models.resolve(order.model)
    if model.digest != order.model_digest:
        raise VoxFleetError(
            FailureClass.MODEL_MISMATCH,
            f"the model on this Mac has {model.digest}, the plan froze {order.model_digest}; install the same files",
        )
    await lane.load(model)
    return await _Shard(ctx, lane, clips).run()


async def _read_plan(ctx: StageContext, order: ProcessOrder) -> dict[int, ManifestRow]:
    """This shard's clips, once everything that Plan froze has been verified."""
    folder = f"{ctx.spec.output_folder}/{plan_folder(order.plan_attempt)}"
    try:
        plan_content = await with_retries(lambda: ctx.storage.get(f"{folder}/plan.json", MANIFEST_LIMIT_BYTES))
        manifest = await with_retries(lambda: ctx.storage.get(f"{folder}/manifest.jsonl", MANIFEST_LIMIT_BYTES))
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.INPUT_NOT_FOUND:
            raise
        raise VoxFleetError(
            FailureClass.OUTPUT_NOT_SHARED,
            "this Mac does not see what Plan wrote below spec.output.uri; use a folder that all Macs share, s3://, "
            "or one Mac",
        ) from error
    return verify_plan(order, ctx.spec.contract_digest, plan_content, manifest)


def verify_plan(
    order: ProcessOrder, contract_digest: str, plan_content: bytes, manifest: bytes
) -> dict[int, ManifestRow]:
    """The shard's clips by index. Raises VoxFleetError(PLAN_MISMATCH) naming what differs. Pure."""
    try:
        plan = PlanFile.model_validate_json(plan_content)
        rows = [ManifestRow.model_validate_json(line) for line in manifest.splitlines()]
    except ValidationError as error:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, "plan.json or the manifest is damaged") from error
    if plan.boundaries[-1] != len(rows) or [row.index for row in rows] != list(range(len(rows))):
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, "the manifest's clips are not those of the boundaries")
    frozen = {
        "the manifest": (sha256_hex(manifest), order.manifest_sha256),
        "plan.json's manifest": (plan.manifest_sha256, order.manifest_sha256),
        "plan.json's model": (plan.model_digest, order.model_digest),
        "plan.json's contract": (plan.contract_digest, contract_digest),
        "plan.json's boundaries": (digest_of(list(plan.boundaries)), order.boundaries_digest),
    }
    for name, (found, expected) in frozen.items():
        if found != expected:
            raise VoxFleetError(
                FailureClass.PLAN_MISMATCH, f"{name} is {found}, the job's status froze {expected}; run the job anew"
            )
    if order.ordinal + 1 >= len(plan.boundaries):
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"the plan has no shard {order.ordinal}")
    first, end = plan.boundaries[order.ordinal], plan.boundaries[order.ordinal + 1]
    if decode(order.indexes) != list(range(first, end)):
        raise VoxFleetError(
            FailureClass.PLAN_MISMATCH,
            f"shard {order.ordinal} of the plan holds {first}-{end - 1}, not {order.indexes}",
        )
    return {row.index: row for row in rows[first:end]}


class _Shard:
    """One run over the clips that are still to do."""

    def __init__(self, ctx: StageContext, lane: Transcriber, clips: Mapping[int, ManifestRow]) -> None:
        self._ctx = ctx
        self._lane = lane
        self._clips = clips
        self._folder = attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)
        self._flushed_at = time.monotonic()
        self._unfrozen = 0

    async def run(self) -> ShardResult:
        inherited = await self._freeze_base()
        await self._upload_frozen()
        done = {row.index for part in inherited for row in part.rows} | await self._ctx.journal.recorded_indexes()
        self._ctx.progress(len(done), len(self._clips))
        await self._work([clip for index, clip in sorted(self._clips.items()) if index not in done], len(done))
        await self._flush()
        return await self._commit(inherited)

    async def _freeze_base(self) -> list[Part]:
        """What is inherited, decided once: the journal's base, if there is one, before any look at the store."""
        spec, journal = self._ctx.spec, self._ctx.journal
        content = await journal.base()
        if content is None:
            parts = await inherit(self._ctx, self._clips)
            base = Base(shard_uid=spec.shard_uid, attempt=spec.attempt, parts=tuple(part.ref for part in parts))
            content = canonical_json(base.dump())
            await journal.freeze_base(content)
        else:
            parts = [await self._read(ref) for ref in Base.model_validate_json(content).parts]
        frozen = content
        uri = f"{spec.output_folder}/{self._folder}/base.json"
        await with_retries(lambda: self._ctx.storage.put_once(uri, frozen))
        return parts

    async def _read(self, ref: PartRef) -> Part:
        uri = f"{self._ctx.spec.output_folder}/{ref.path}"
        content = await with_retries(lambda: self._ctx.storage.get(uri, MANIFEST_LIMIT_BYTES))
        return parse_part(ref.path, content)

    async def _work(self, clips: Sequence[ManifestRow], done: int) -> None:
        """The lane takes clips as they arrive; fetching stays a few clips ahead of it."""
        queue: asyncio.Queue[Fetched] = asyncio.Queue(FETCHED_AHEAD)

        async def fetch_all() -> None:
            for clip in clips:
                await queue.put(await self._fetch(clip))

        async with asyncio.TaskGroup() as group:
            fetching = group.create_task(fetch_all())
            for number in range(len(clips)):
                await self._finish(await queue.get())
                self._ctx.progress(done + number + 1, len(self._clips))
            await fetching

    async def _fetch(self, clip: ManifestRow) -> Fetched:
        if clip.refusal is not None or clip.size_bytes is None:
            refusal = clip.refusal or RowError(failure_class=FailureClass.INPUT_NOT_FOUND, reason="Plan saw no size")
            return Fetched(clip, None, None, refusal, 0, time.monotonic())
        started = time.monotonic()
        size_bytes = clip.size_bytes
        path = await self._ctx.scratch.reserve(f"clip-{clip.index}", size_bytes)

        async def download() -> str:
            path.unlink(missing_ok=True)  # of an interrupted try
            return await self._ctx.storage.download(clip.uri, path, size_bytes=size_bytes, etag=clip.etag)

        sha256: str | None = None
        error: RowError | None = None
        try:
            sha256 = await with_retries(download)
            if clip.sha256 is not None and sha256 != clip.sha256:
                reason = f"sha256 is {sha256[:12]}…, the manifest says {clip.sha256[:12]}…"
                error = RowError(failure_class=FailureClass.CHECKSUM_MISMATCH, reason=reason)
        except VoxFleetError as failure:
            error = RowError(failure_class=failure.failure_class, reason=failure.message[:256])
        now = time.monotonic()
        return Fetched(clip, path, sha256, error, _milliseconds(now - started), now)

    async def _finish(self, fetched: Fetched) -> None:
        """One clip to its durable row."""
        if fetched.error is not None or fetched.path is None:
            row = self._row(fetched, None, 0)
        else:
            waited = _milliseconds(time.monotonic() - fetched.ready_at)
            task = ClipTask(fetched.clip.index, fetched.path, self._ctx.spec.contract)
            verdict = await self._lane.transcribe(task)
            self._ctx.audio_meter(verdict.audio_milliseconds)
            row = self._row(fetched, verdict, waited)
        await self._ctx.journal.record_row(row)
        if fetched.path is not None:
            await self._ctx.scratch.release(fetched.path)
        self._unfrozen += 1
        if self._unfrozen >= PART_ROWS or time.monotonic() - self._flushed_at >= PART_SECONDS:
            await self._flush()

    def _row(self, fetched: Fetched, verdict: ClipVerdict | None, waited_milliseconds: int) -> ResultRow:
        clip, error, provenance = fetched.clip, fetched.error, self._ctx.provenance
        if verdict is not None and verdict.failure_class is not None:
            error = RowError(failure_class=verdict.failure_class, reason=verdict.reason[:256])
        return ResultRow(
            index=clip.index,
            custom_id=clip.custom_id,
            status=_status(error),
            text=None if verdict is None or error is not None else verdict.text,
            error=error,
            audio_milliseconds=clip.audio_milliseconds if verdict is None else verdict.audio_milliseconds,
            sha256=fetched.sha256,
            etag=clip.etag,
            timings=Timings(
                fetch_milliseconds=fetched.fetch_milliseconds,
                decode_milliseconds=0 if verdict is None else verdict.decode_milliseconds,
                wait_milliseconds=waited_milliseconds,
                infer_milliseconds=0 if verdict is None else verdict.infer_milliseconds,
            ),
            attestation=None if verdict is None else verdict.attestation,
            batch_size=None if verdict is None else verdict.batch_size,
            attempt=self._ctx.spec.attempt,
            chip=provenance.chip,
            versions=provenance.versions,
        )

    async def _flush(self) -> None:
        """Freezes the rows that no part holds, then uploads; the journal knows each part before the store does."""
        rows = await self._ctx.journal.unfrozen_rows()
        if rows:
            number = len(await self._ctx.journal.parts())
            content = b"".join(row.line() for row in rows)
            sha256 = sha256_hex(content)
            indexes = [row.index for row in rows]
            path = f"{self._folder}/{part_name(number, sha256)}"
            ref = PartRef(path=path, sha256=sha256, indexes=encode(indexes))
            await self._ctx.journal.freeze_part(FrozenPart(number, ref, content, uploaded=False), indexes)
            await self._upload_frozen()
        self._unfrozen, self._flushed_at = 0, time.monotonic()

    async def _upload_frozen(self) -> None:
        """Uploads what is frozen and not marked; a repeated upload writes the same bytes under the same name."""
        for part in await self._ctx.journal.parts():
            if part.uploaded:
                continue
            uri, content = f"{self._ctx.spec.output_folder}/{part.ref.path}", part.content
            await with_retries(lambda uri=uri, content=content: self._ctx.storage.put_once(uri, content))  # type: ignore[misc] # mypy cannot infer a lambda with defaults
            crash.point("part-uploaded")
            await self._ctx.journal.mark_uploaded(part.number)

    async def _commit(self, inherited: Sequence[Part]) -> ShardResult:
        own = [parse_part(part.ref.path, part.content) for part in await self._ctx.journal.parts()]
        parts = [*inherited, *own]
        rows = [row for part in parts for row in part.rows]
        if sorted(row.index for row in rows) != sorted(self._clips):
            raise VoxFleetError(FailureClass.PLAN_MISMATCH, "the attempt's parts are not one row for each of its clips")
        commit = Commit(
            shard_uid=self._ctx.spec.shard_uid,
            attempt=self._ctx.spec.attempt,
            indexes=encode(self._clips),
            parts=tuple(part.ref for part in parts),
            counts=counts(rows),
        )
        content = canonical_json(commit.dump())
        uri = f"{self._ctx.spec.output_folder}/{self._folder}/commit.json"
        await with_retries(lambda: self._ctx.storage.put(uri, content))
        crash.point("commit-uploaded")
        return ShardResult(
            commit_sha256=sha256_hex(content), counts=commit.counts, quarantine=tuple(first_quarantined(rows))
        )


def _status(error: RowError | None) -> ClipStatus:
    if error is None or error.failure_class is None:
        return ClipStatus.SUCCEEDED
    return ClipStatus.QUARANTINED if RULES[error.failure_class].quarantines else ClipStatus.FAILED


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
