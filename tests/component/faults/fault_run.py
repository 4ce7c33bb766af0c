"""A job on a real agent and a real S3 server, with corrupt clips among good ones and a network that breaks."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import SecretStr
from tests.component.faults.faulty_proxy import Fault, FaultyProxy
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Backoff, Retries
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.results import ResultIndex
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_corpus.case import CONTRACT
from voxfleet_corpus.damage import flip, hole
from voxfleet_corpus.sounds import RATE_HZ, Sounds
from voxfleet_corpus.wav import FLOAT, chunk, fmt, riff
from voxfleet_dev.s3 import S3Server

BUCKET = "speech"
QUICK = CONTRACT.model_copy(update={"retries": Retries(backoff=Backoff(initial="20ms", cap="100ms"))})
"""The corpus's contract, with retries that do not wait for long."""
INPUT = JobInput(prefix=PrefixInput(uri=f"s3://{BUCKET}/clips/"))
LOOPBACK = {"privateNetworks": ["127.0.0.0/8"]}


@dataclass(frozen=True)
class FaultRun:
    rows: dict[str, ResultRow]
    """By the clip's name."""
    poisoned: frozenset[str]
    faults: Mapping[str, Fault]
    """By the clip's name: what happened to the first fetch of it."""
    met: Counter[Fault]
    process_seconds: float
    residue_bytes: int

    def check(self, clips: int) -> None:
        """Every clip has its row, and nobody pays for another one's trouble."""
        assert len(self.rows) == clips
        found = {name: row.error.failure_class for name, row in self.rows.items() if row.error is not None}
        assert found == dict.fromkeys(self.poisoned, FailureClass.DECODE_ERROR)
        assert all(row.text for name, row in self.rows.items() if row.status is ClipStatus.SUCCEEDED)
        repeated = {name for name, row in self.rows.items() if row.retries}
        assert repeated == {name for name, fault in self.faults.items() if fault is not Fault.SLOW}
        assert {self.rows[name].retries for name in repeated} <= {1}
        assert self.met == Counter(self.faults.values())
        assert {row.attempt for row in self.rows.values()} == {1}
        assert self.residue_bytes == 0


async def run_faults(
    folder: Path, clips: int, *, corrupt_percent: int = 1, fault_percent: int = 5, seed: int = 1
) -> FaultRun:
    """Plan, Process and Finalize of `clips` clips; the same seed breaks the same ones."""
    rng = random.Random(seed)  # noqa: S311 - which clips break is no secret
    names = [f"clip-{number:05d}.wav" for number in range(clips)]
    troubled = rng.sample(names, clips * (corrupt_percent + fault_percent) // 100)
    poisoned = frozenset(troubled[: clips * corrupt_percent // 100])
    kinds = tuple(Fault)
    faults = {name: kinds[number % len(kinds)] for number, name in enumerate(troubled) if name not in poisoned}
    contents = _contents(names, poisoned)

    with S3Server(folder / "s3") as server:
        server.bucket(BUCKET)
        async with open_storage(server) as storage, FaultyProxy(server.port) as proxy:
            await upload(storage, contents)
            specs = JobSpecs(
                INPUT,
                f"s3://{BUCKET}/out",
                QUICK,
                shard_audio_milliseconds=10**9,
            )
            with AgentProcess(folder / "mac", [f"s3://{BUCKET}/"], https=LOOPBACK) as agent:
                keys = credentials(server, proxy.endpoint_url)
                plan = await asyncio.to_thread(agent.plan, specs, keys)
                (spec,) = specs.process(plan)
                proxy.arm(faults)
                started = time.monotonic()
                status = await asyncio.to_thread(agent.run, spec, keys)
                process_seconds = time.monotonic() - started
                assert status.result is not None, status.failure
                finalize = specs.finalize(plan, [(spec, status.result)])
                await asyncio.to_thread(agent.succeed, finalize, keys)
            rows = await read_rows(storage, specs.folder)
    return FaultRun(rows, poisoned, faults, proxy.met, process_seconds, status.scratch_residue_bytes)


def credentials(server: S3Server, endpoint_url: str) -> dict[str, str]:
    return {
        "accessKeyId": server.access_key_id,
        "secretAccessKey": server.secret_access_key,
        "endpointUrl": endpoint_url,
    }


@asynccontextmanager
async def open_storage(server: S3Server) -> AsyncIterator[Storage]:
    """Straight to the server."""
    keys = S3Credentials(
        access_key_id=SecretStr(server.access_key_id),
        secret_access_key=SecretStr(server.secret_access_key),
        endpoint_url=server.endpoint,
    )
    storage = Storage([f"s3://{BUCKET}/"], keys, HttpsConfig.load(LOOPBACK))
    try:
        yield storage
    finally:
        await storage.aclose()


def _contents(names: list[str], poisoned: frozenset[str]) -> dict[str, bytes]:
    """The same words behind silences of different lengths; the poisoned ones look well until they are decoded."""
    sounds = Sounds()
    holed = sounds.floats.copy()
    holed[len(holed) // 2] = np.nan
    poisons = (
        riff(fmt(FLOAT, bits=32), chunk(b"data", holed.tobytes())),
        flip(sounds.flac, 3, 30, len(sounds.flac) // 2),
        hole(sounds.flac, 50, 70),
    )
    contents: dict[str, bytes] = {}
    for number, name in enumerate(names):
        silence = bytes(2 * (RATE_HZ // 1000) * (number % 400))
        contents[name] = riff(fmt(), chunk(b"data", silence + sounds.pcm))
        if name in poisoned:
            contents[name] = poisons[number % len(poisons)]
    return contents


async def upload(storage: Storage, contents: Mapping[str, bytes]) -> None:
    """Puts clips where `INPUT` looks for them."""
    permits = asyncio.Semaphore(8)

    async def put(name: str, content: bytes) -> None:
        async with permits:
            await storage.put(f"s3://{BUCKET}/clips/{name}", content)

    async with asyncio.TaskGroup() as group:
        for name, content in contents.items():
            group.create_task(put(name, content))


async def read_rows(storage: Storage, folder: str) -> dict[str, ResultRow]:
    """By the clip's name, as a finished job's index.json has them; fails when a clip has two."""
    index = ResultIndex.model_validate_json(await storage.get(f"{folder}/index.json", 2**20))
    rows: dict[str, ResultRow] = {}
    for file in index.files:
        if file.path not in ("results.jsonl", "errors.jsonl"):
            continue
        for line in (await storage.get(f"{folder}/{file.path}", 2**28)).splitlines():
            row = ResultRow.model_validate_json(line)
            assert row.custom_id not in rows
            rows[row.custom_id] = row
    return rows
