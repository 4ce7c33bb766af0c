"""A network that breaks while results are written costs nothing and leaves nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from tests.component.faults.fault_run import (
    BUCKET,
    INPUT,
    LOOPBACK,
    QUICK,
    credentials,
    open_storage,
    read_rows,
    upload,
)
from tests.component.faults.faulty_proxy import Fault, FaultyProxy
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.rows import ClipStatus
from voxfleet_corpus.sounds import SPEECH
from voxfleet_dev.s3 import S3Server

BROKEN = {
    "manifest.jsonl": Fault.RESET,
    "plan.json": Fault.CUT,
    "base.json": Fault.TOO_MANY,
    "run.json": Fault.SLOW_DOWN,
    "commit.json": Fault.CUT,
    "results.jsonl": Fault.ERROR,
    "errors.jsonl": Fault.RESET,
    "index.json": Fault.CUT,
}


async def test_writes_that_break_or_whose_answer_is_lost_are_made_once(tmp_path: Path) -> None:
    clips = {f"{number}.wav": SPEECH.read_bytes() for number in range(4)}
    clips["broken.wav"] = SPEECH.read_bytes()[:20_000]
    with S3Server(tmp_path / "s3") as server:
        server.bucket(BUCKET)
        async with open_storage(server) as storage, FaultyProxy(server.port) as proxy:
            await upload(storage, clips)
            proxy.arm(BROKEN, method="PUT")
            specs = JobSpecs(INPUT, f"s3://{BUCKET}/out", QUICK)
            with AgentProcess(tmp_path / "mac", [f"s3://{BUCKET}/"], https=LOOPBACK) as agent:
                await asyncio.to_thread(agent.run_job, specs, credentials(server, proxy.endpoint_url))
            rows = await read_rows(storage, specs.folder)

    assert proxy.met == Counter(BROKEN.values())
    assert {name: row.status for name, row in rows.items()} == {
        name: ClipStatus.QUARANTINED if name == "broken.wav" else ClipStatus.SUCCEEDED for name in clips
    }
    assert {row.attempt for row in rows.values()} == {1}
