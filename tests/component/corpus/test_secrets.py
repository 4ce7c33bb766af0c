"""After a run with S3 credentials, no secret can be read anywhere."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.component.faults.fault_run import BUCKET, INPUT, LOOPBACK, QUICK, credentials, open_storage, upload
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_corpus.sounds import SPEECH
from voxfleet_dev.s3 import S3Server

LINUX = sys.platform == "linux"
WRONG_SECRET = "a-wrong-secret-that-is-a-secret-too"
SESSION_TOKEN = "a-session-token-that-nobody-asked-for"


@dataclass(frozen=True)
class Traces:
    """Everything that one agent showed while it ran, and left after it stopped."""

    secrets: list[str]
    """The secrets of the jobs."""
    token: str
    """The agent's token, which its own token file holds."""
    responses: str
    log: str
    processes: list[str]
    """Arguments and environment of each process, while the agent ran."""
    core_limits: list[tuple[int, int]]
    own: Path
    bucket: Path


@pytest.fixture
def core_dumps_on() -> Iterator[None]:
    """Allows core dumps, as some administrators do; the programs that the test starts inherit the limit."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


async def use_an_agent(root: Path) -> Traces:
    with S3Server(root / "s3") as server:
        bucket = server.bucket(BUCKET)
        clip = SPEECH.read_bytes()
        async with open_storage(server) as storage:
            await upload(storage, {"0.wav": clip, "1.wav": clip, "broken.wav": clip[:9000]})
        keys = credentials(server, server.endpoint)
        wrong_keys = {**keys, "secretAccessKey": WRONG_SECRET, "sessionToken": SESSION_TOKEN}
        with AgentProcess(root / "mac", [f"s3://{BUCKET}/"], https=LOOPBACK) as agent:
            refused = await asyncio.to_thread(
                agent.run, JobSpecs(INPUT, f"s3://{BUCKET}/out", QUICK).plan(), wrong_keys
            )
            assert refused.failure is not None
            await asyncio.to_thread(agent.run_job, JobSpecs(INPUT, f"s3://{BUCKET}/out", QUICK, number=1), keys)
            for path in ("/metrics", "/v1/machine", "/v1/attempts", "/v1/ledger?after=-1&limit=1000"):
                await asyncio.to_thread(agent.get, path)
            processes = agent.processes()
            shown = [repr((process.cmdline(), process.environ())) for process in processes]
            limits = [process.rlimit(psutil.RLIMIT_CORE) for process in processes] if LINUX else []
            secrets = [server.secret_access_key, WRONG_SECRET, SESSION_TOKEN]
            assert _holding(agent.mac.directory, secrets) == []
        log = agent.mac.agent.log_tail(10**6)
        return Traces(secrets, agent.mac.token, "\n".join(agent.text), log, shown, limits, agent.mac.directory, bucket)


def responses_and_log_hold_no_secret(traces: Traces) -> None:
    assert "Succeeded" in traces.responses and "Succeeded" in traces.log
    assert [secret for secret in [*traces.secrets, traces.token] if secret in traces.responses + traces.log] == []


def journal_state_and_scratch_hold_no_secret_of_a_job(traces: Traces) -> None:
    assert list(traces.own.rglob("journal.sqlite3")) != []
    assert _holding(traces.own, traces.secrets) == []


def results_hold_no_secret(traces: Traces) -> None:
    assert list(traces.bucket.rglob("index.json")) != []
    assert _holding(traces.bucket, [*traces.secrets, traces.token]) == []


def the_process_list_holds_no_secret(traces: Traces) -> None:
    assert len(traces.processes) > 1, "no lane was alive to be looked at"
    assert [secret for secret in [*traces.secrets, traces.token] if secret in "".join(traces.processes)] == []


def neither_agent_nor_lane_leaves_a_core_dump(traces: Traces) -> None:
    if not LINUX:
        pytest.skip("psutil reads other processes' limits on Linux only")
    assert traces.core_limits == [(0, 0)] * len(traces.processes)


def _holding(folder: Path, secrets: list[str]) -> list[Path]:
    """The files below a folder that contain one of the secrets."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


CHECKS = (
    responses_and_log_hold_no_secret,
    journal_state_and_scratch_hold_no_secret_of_a_job,
    results_hold_no_secret,
    the_process_list_holds_no_secret,
    neither_agent_nor_lane_leaves_a_core_dump,
)


@pytest.mark.usefixtures("core_dumps_on")
async def test_no_secret_is_left_anywhere(tmp_path: Path, subtests: pytest.Subtests) -> None:
    traces = await use_an_agent(tmp_path)
    for check in CHECKS:
        with subtests.test(check.__name__):
            check(traces)
