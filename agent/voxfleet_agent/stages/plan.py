"""Plan: list the input, look at headers, fix the model, and freeze all of it in plan.json."""

from __future__ import annotations

import asyncio
import fnmatch
import io
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from voxfleet_agent.audio.headers import inspect, refuse
from voxfleet_agent.stages.boundaries import boundaries
from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.stage import StageContext
from voxfleet_agent.storage import Storage, StoredObject
from voxfleet_api.base import Sha256Hex
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import JobInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import PlanOrder, ShardResult
from voxfleet_api.quantities import seconds_text
from voxfleet_api.ranges import MAX_INDEXES
from voxfleet_api.results import ManifestRow, PlanFile, PlanResult, RowError, plan_folder

MANIFEST_LIMIT_BYTES = 256 << 20
HEADS_AT_A_TIME = 16
BLOCK_BYTES = 64 << 10
HEADER_LIMIT_BYTES = 16 << 20
"""Most bytes that are read of one clip to understand its header."""


@dataclass(frozen=True, slots=True)
class Source:
    """One clip as the input names it."""

    custom_id: str
    uri: str
    sha256: str | None


class ManifestLine(BaseModel):
    """A line of the input's manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    uri: str
    sha256: Sha256Hex | None = None


async def run_plan(ctx: StageContext) -> ShardResult:
    """Writes contract.json, manifest.jsonl and plan.json. Raises VoxFleetError."""
    order = ctx.spec.plan
    if order is None:
        raise ValueError("a Plan attempt without a plan order")
    model = await ctx.models.resolve(order.model)
    sources = await gather_sources(ctx.storage, order.input)
    rows = await _inspect_all(ctx, sources)
    plan = _plan(ctx, order, rows, model.digest, model.revision)
    folder = f"{ctx.spec.output_folder}/{plan_folder(ctx.spec.attempt)}"
    content = canonical_json(plan.dump())
    for uri, body in (
        (f"{ctx.spec.output_folder}/contract.json", canonical_json(ctx.spec.contract.dump())),
        (f"{folder}/manifest.jsonl", b"".join(row.line() for row in rows)),
        (f"{folder}/plan.json", content),
    ):
        await _put(ctx.storage, uri, body)
    return ShardResult(
        commit_sha256=sha256_hex(content),
        plan=PlanResult(**plan.model_dump(exclude={"contract_digest"})),
    )


def _plan(
    ctx: StageContext, order: PlanOrder, rows: Sequence[ManifestRow], digest: str, revision: str | None
) -> PlanFile:
    lengths = [row.audio_milliseconds for row in rows]
    return PlanFile(
        manifest_sha256=sha256_hex(b"".join(row.line() for row in rows)),
        model_digest=digest,
        model_revision=revision,
        boundaries=boundaries(lengths, order.shard_audio_milliseconds, order.max_shards),
        audio_seconds=seconds_text(sum(lengths)),
        contract_digest=ctx.spec.contract_digest,
    )


async def gather_sources(storage: Storage, job_input: JobInput) -> list[Source]:
    """The clips in their order. Raises VoxFleetError(INVALID_INPUT) naming the manifest's line or what is missing."""
    if job_input.clips is not None:
        sources = [Source(clip.id, clip.uri, clip.sha256) for clip in job_input.clips]
    elif job_input.manifest is not None:
        uri = job_input.manifest.uri
        sources = parse_manifest(uri, await with_retries(lambda: _read_manifest(storage, uri)))
    elif job_input.prefix is not None:
        prefix = job_input.prefix
        found = await with_retries(lambda: storage.list(prefix.uri))
        sources = _by_name(prefix.uri, found, prefix.include)
    else:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "input names neither clips nor a manifest nor a prefix")
    if not sources:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "the input has no clips; check spec.input")
    if len(sources) > MAX_INDEXES:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"the input has more than {MAX_INDEXES} clips; split the job")
    (custom_id, times), *_ = Counter(source.custom_id for source in sources).most_common(1)
    if times > 1:
        raise VoxFleetError(
            FailureClass.INVALID_INPUT, f"the id {custom_id} names {times} clips; give each clip an id of its own"
        )
    return sources


async def _read_manifest(storage: Storage, uri: str) -> bytes:
    try:
        return await storage.get(uri, MANIFEST_LIMIT_BYTES)
    except VoxFleetError as error:
        if error.failure_class is FailureClass.INPUT_NOT_FOUND:
            message = "spec.input.manifest.uri: this Mac finds no such file; file:// must be visible on every Mac"
            raise VoxFleetError(FailureClass.INPUT_NOT_SHARED, message) from error
        raise


def parse_manifest(uri: str, content: bytes) -> list[Source]:
    """Lines of `{"id", "uri", "sha256"}`; a `uri` without a scheme is relative to the manifest."""
    folder = uri.rpartition("/")[0]
    sources = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = ManifestLine.model_validate_json(line)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, item["loc"])) or "JSON" for item in error.errors())
            raise VoxFleetError(
                FailureClass.INVALID_INPUT,
                f'manifest line {number}: {fields}; write {{"id": …, "uri": …, "sha256": …}}',
            ) from error
        if not 0 < len(row.id) <= 128:
            raise VoxFleetError(FailureClass.INVALID_INPUT, f"manifest line {number}: id has 1 to 128 characters")
        address = row.uri if urllib.parse.urlsplit(row.uri).scheme else f"{folder}/{row.uri}"
        sources.append(Source(row.id, address, row.sha256))
    return sources


def _by_name(prefix: str, found: Sequence[StoredObject], include: Sequence[str]) -> list[Source]:
    sources = []
    for item in found:
        name = urllib.parse.unquote(item.uri.removeprefix(prefix))
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
            sources.append(Source(name[:128], item.uri, None))
    return sources


async def _inspect_all(ctx: StageContext, sources: Sequence[Source]) -> list[ManifestRow]:
    gate = asyncio.Semaphore(HEADS_AT_A_TIME)
    done = 0

    async def one(index: int, source: Source) -> ManifestRow:
        nonlocal done
        async with gate:
            row = await inspect_clip(ctx.storage, ctx.spec.contract, index, source)
        done += 1
        ctx.progress(done, len(sources))
        return row

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(index, source)) for index, source in enumerate(sources)]
    return [task.result() for task in tasks]


async def inspect_clip(storage: Storage, contract: VoiceContractSpec, index: int, source: Source) -> ManifestRow:
    """The clip's manifest row; what its header shows to be wrong is its refusal, not an error."""
    row = ManifestRow(index=index, custom_id=source.custom_id, uri=source.uri, sha256=source.sha256)
    try:
        found = await with_retries(lambda: storage.head(source.uri))
        row = row.model_copy(update={"size_bytes": found.size_bytes, "etag": found.etag})
        reader = await _HeaderReader.open(storage, found)
        facts = await asyncio.to_thread(inspect, reader, found.size_bytes)
    except VoxFleetError as error:
        return row.model_copy(update={"refusal": _refusal(error)})
    update = {"audio_milliseconds": facts.audio_milliseconds, "refusal": refuse(facts, found.size_bytes, contract)}
    return row.model_copy(update=update)


def _refusal(error: VoxFleetError) -> RowError:
    return RowError(failure_class=error.failure_class, reason=error.message[:256])


class _HeaderReader(io.RawIOBase):
    """Reads a remote object block by block, from a thread, and only as far as a header needs."""

    def __init__(self, storage: Storage, item: StoredObject, loop: asyncio.AbstractEventLoop, first: bytes) -> None:
        self._storage = storage
        self._item = item
        self._loop = loop
        self._blocks = {0: first}
        self._position = 0

    @classmethod
    async def open(cls, storage: Storage, item: StoredObject) -> _HeaderReader:
        size_bytes = min(BLOCK_BYTES, item.size_bytes)
        first = await storage.read_range(item.uri, 0, size_bytes, item.etag) if size_bytes else b""
        return cls(storage, item, asyncio.get_running_loop(), first)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._item.size_bytes}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        end = self._item.size_bytes if size < 0 else min(self._item.size_bytes, self._position + size)
        pieces = []
        while self._position < end:
            number, start = divmod(self._position, BLOCK_BYTES)
            piece = self._block(number)[start : start + end - self._position]
            if not piece:
                break
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) * BLOCK_BYTES >= HEADER_LIMIT_BYTES:
                raise VoxFleetError(
                    FailureClass.DECODE_ERROR, f"its header does not fit into {HEADER_LIMIT_BYTES >> 20} MiB"
                )
            offset = number * BLOCK_BYTES
            size_bytes = min(BLOCK_BYTES, self._item.size_bytes - offset)
            read = self._storage.read_range(self._item.uri, offset, size_bytes, self._item.etag)
            self._blocks[number] = asyncio.run_coroutine_threadsafe(read, self._loop).result()
        return self._blocks[number]


async def _put(storage: Storage, uri: str, content: bytes) -> None:
    await with_retries(lambda: storage.put(uri, content))
