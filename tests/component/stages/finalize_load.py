"""Makes a large job's parts, and finalizes them in a process of its own that reports the peak of Python's memory.

python -m tests.component.stages.finalize_load make FOLDER ROWS SHARDS
python -m tests.component.stages.finalize_load run FOLDER...
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path

from tests.component.stages.stage_rig import Job, commit_ref, shard_uid
from tests.component.stages.stage_stubs import MODEL_DIGEST

from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import Commit, Counts, PartRef, PlanFile, PlanResult, attempt_folder, part_name, plan_folder
from voxfleet_api.rows import Attestation, ClipStatus, ManifestRow, ResultRow, RowError, Timings

PART_ROWS = 64
WORDS = 60
BAD_EVERY = 50
VERSIONS = {"mlx": "0.32.4", "mlx-audio": "0.5.8", "mlx-audio-io": "0.1.2", "python": "3.12.4", "voxfleet": "0.4.0"}


def clip(index: int) -> ManifestRow:
    return ManifestRow(
        index=index,
        custom_id=f"session-{index // 100:04d}/{index:06d}.wav",
        uri=f"s3://corpus/recordings/session-{index // 100:04d}/{index:06d}.wav",
        size_bytes=320_044,
        etag=f"{index:032x}",
        audio_milliseconds=10_000,
    )


def row(clip: ManifestRow) -> ResultRow:
    bad = clip.index % BAD_EVERY == 7
    error = RowError(failure_class=FailureClass.DECODE_ERROR, reason="ends early") if bad else None
    return ResultRow(
        index=clip.index,
        custom_id=clip.custom_id,
        status=ClipStatus.QUARANTINED if bad else ClipStatus.SUCCEEDED,
        text=None if bad else " ".join(f"w{(clip.index * 31 + word * 17) % 9973:04d}" for word in range(WORDS)),
        language="en",
        error=error,
        audio_milliseconds=10_000,
        sha256=sha256_hex(str(clip.index).encode()),
        etag=clip.etag,
        timings=Timings(fetch_milliseconds=clip.index % 90, infer_milliseconds=clip.index % 700),
        attestation=Attestation(
            container="wav",
            encoding="pcm16",
            sample_rate_hz=22_050,
            channels=1,
            conversions=("resample:22050->16000:soxr_vhq",),
            decoder="mlx-audio-io 0.1.2",
            sha256=sha256_hex(str(clip.index).encode()),
        ),
        batch_size=8,
        retries=0,
        attempt=1,
        chip="Apple M4",
        versions=VERSIONS,
    )


def make(root: Path, rows: int, shards: int) -> None:
    """Writes the files of Plan and Process. Each shard's rows are shuffled, as buckets do not keep clips in order."""
    job = Job(root)
    plan_path = job.folder / plan_folder(1)
    plan_path.mkdir(parents=True)
    manifest = b"".join(clip(index).line() for index in range(rows))
    boundaries = tuple(rows * shard // shards for shard in range(shards + 1))
    result = PlanResult(
        manifest_sha256=sha256_hex(manifest), model_digest=MODEL_DIGEST, boundaries=boundaries, audio_seconds="1.000"
    )
    plan = PlanFile(
        **result.model_dump(exclude={"model_bytes", "model_revision"}), contract_digest=digest_of(job.contract)
    )
    (plan_path / "manifest.jsonl").write_bytes(manifest)
    (plan_path / "plan.json").write_bytes(canonical_json(plan.dump()))
    (plan_path / "nonce").write_bytes(b"nonce")
    commits = [
        commit_ref(_shard(job, number, range(*span)), ordinal=number)
        for number, span in enumerate(pairwise(boundaries))
    ]
    (root / "spec.json").write_bytes(canonical_json(job.finalize_spec(result, commits).dump()))


def _shard(job: Job, number: int, span: range) -> ShardResult:
    folder = attempt_folder(shard_uid(number), 1)
    (job.folder / folder).mkdir(parents=True)
    order = list(span)
    random.Random(number).shuffle(order)  # noqa: S311 -- a test's order
    parts: list[PartRef] = []
    for start in range(0, len(order), PART_ROWS):
        indexes = sorted(order[start : start + PART_ROWS])
        content = b"".join(row(clip(index)).line() for index in indexes)
        path = f"{folder}/{part_name(len(parts), sha256_hex(content))}"
        (job.folder / path).write_bytes(content)
        parts.append(PartRef(path=path, sha256=sha256_hex(content), indexes=encode(indexes)))
    commit = Commit(
        shard_uid=shard_uid(number),
        attempt=1,
        indexes=encode(span),
        parts=tuple(parts),
        counts=Counts(succeeded=len(span)),
    )
    content = canonical_json(commit.dump())
    (job.folder / folder / "commit.json").write_bytes(content)
    return ShardResult(commit_sha256=sha256_hex(content), counts=commit.counts)


async def run(root: Path) -> dict[str, object]:
    """Runs Finalize; returns the most bytes that Python held for it, and the commit's sha256.

    The resident set would count what the allocator keeps: it varies by as much as a thousand rows.
    """
    job = Job(root)
    spec = AttemptSpec.model_validate_json((root / "spec.json").read_bytes())
    scratch_path = Path(tempfile.mkdtemp(prefix="scratch-", dir=root))
    scratch = Scratch(scratch_path, quota_bytes=2**30, min_free_bytes=0)
    async with Storage(job.allow) as storage:
        context = job.context(spec, storage=storage, scratch=scratch)
        tracemalloc.start()
        result = await run_finalize(context)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {"peakBytes": peak_bytes, "commit": result.commit_sha256}


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        for name in sys.argv[2:]:
            print(json.dumps(asyncio.run(run(Path(name)))))
