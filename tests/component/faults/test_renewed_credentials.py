"""The key of a job's Secret ends while its attempt runs; a repeated PUT has brought the new one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from tests.component.faults.fault_run import BUCKET, INPUT, LOOPBACK, QUICK, credentials, open_storage, upload
from tests.component.storage.proxy import FaultProxy, Request
from tests.rig.agent_process import TIMEOUT_SECONDS, AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.protocol import AttemptState
from voxfleet_corpus.sounds import SPEECH
from voxfleet_dev.s3 import S3Server

CLIPS = 5


async def put_clips(server: S3Server) -> None:
    async with open_storage(server) as storage:
        await upload(storage, {f"clip-{number}.wav": SPEECH.read_bytes() for number in range(CLIPS)})


def test_an_attempt_goes_on_with_renewed_credentials(tmp_path: Path) -> None:
    reached, renewed = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if "clips/clip-1.wav" in request.target and not reached.is_set():
            reached.set()
            renewed.wait(TIMEOUT_SECONDS)

    # Two gateways to the same buckets: where the one has ended, only the keys of the other are known.
    with S3Server(tmp_path / "s3") as first, S3Server(tmp_path / "s3") as second, FaultProxy(first.port) as proxy:
        first.bucket(BUCKET)
        asyncio.run(put_clips(first))
        old, new = credentials(first, proxy.endpoint), credentials(second, proxy.endpoint)
        specs = JobSpecs(INPUT, f"s3://{BUCKET}/out", QUICK)
        with AgentProcess(tmp_path / "mac", [f"s3://{BUCKET}/"], https=LOOPBACK) as agent:
            plan = agent.plan(specs, old)
            (spec,) = specs.process(plan)
            proxy.plan = hold
            cursor = agent.attempts().cursor
            agent.put(spec, old)
            assert reached.wait(TIMEOUT_SECONDS)
            assert agent.put(spec, new).state is AttemptState.RUNNING
            proxy.switch(second.port)
            renewed.set()
            status = agent.until_ended(spec, cursor)
            assert status.result is not None, status.failure
            assert status.result.counts is not None and status.result.counts.succeeded == CLIPS
            agent.succeed(specs.finalize(plan, [(spec, status.result)]), new)
