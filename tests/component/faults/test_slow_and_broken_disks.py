"""A slow disk costs time and nothing else. One that answers with errors costs its attempt, and no clip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.component.corpus.witness import can_trace
from tests.component.faults.disk_faults import disk_faults
from tests.component.faults.disk_site import Site, lay_out
from tests.rig.agent_process import AgentProcess

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.results import attempt_folder
from voxfleet_api.run_record import RunRecord

pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not watch processes here")

SLOW = ("fsync,fdatasync:delay_exit=30ms", "write,pwrite64:delay_exit=3ms")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("disks")
    with AgentProcess(root / "mac", lay_out(root)) as agent:
        yield Site(root, agent)


def test_a_slow_disk_delays_a_job_and_nothing_else(site: Site, tmp_path: Path) -> None:
    with disk_faults(site.pids(), tmp_path / "log", SLOW) as disk:
        specs, plan = site.plan()
        (spec,) = specs.process(plan)
        rows = site.finish(specs, plan, spec, site.agent.succeed(spec))
    assert disk.met() > 100
    assert {(row.attempt, row.retries) for row in rows} == {(1, 0)}
    record = specs.local_folder / attempt_folder(spec.shard_uid, 1) / "run.json"
    run = RunRecord.model_validate_json(record.read_bytes())
    assert (run.retries, run.readings.restarts) == ({}, {})


@pytest.mark.parametrize("fault", ["write:error=EIO", "read:error=EIO"])
def test_scratch_that_answers_with_an_error(site: Site, tmp_path: Path, fault: str) -> None:
    """The agent writes a clip there, its lane reads it."""
    specs, plan = site.plan()
    (spec,) = specs.process(plan)
    clip = site.root / "mac" / "scratch" / "attempts" / str(AttemptKey(spec.shard_uid, 1)) / "clip-3"
    with disk_faults(site.pids(), tmp_path / "log", [fault], only=clip) as disk:
        assert site.fail(specs, plan) is FailureClass.SCRATCH_EXHAUSTED
        assert disk.met() > 0
        site.recover(specs, plan)


@pytest.mark.parametrize("fault", ["fsync,fdatasync:error=EIO:when=4+", "pwrite64:error=EIO:when=20+"])
def test_a_journal_that_answers_with_an_error(site: Site, tmp_path: Path, fault: str) -> None:
    """The agent can promise nothing any more and ends; what it promised before, it keeps."""
    specs, plan = site.plan()
    (spec,) = specs.process(plan)
    journal = next((site.root / "mac" / "state").glob("*-wal"))
    with disk_faults(site.pids(), tmp_path / "log", [fault], only=journal) as disk:
        with contextlib.suppress(httpx.TransportError):
            site.agent.put(spec)  # it may end before it answers
        assert site.agent.mac.agent.wait_exit(30) != 0
        assert disk.met() > 0
    site.agent.mac.restart_agent()
    status = site.agent.run(spec)
    if status.result is not None:
        site.finish(specs, plan, spec, status.result)
        return
    # A sync that failed leaves open whether its transaction holds: the last one said that the attempt had failed.
    assert status.failure is not None and status.failure.failure_class is FailureClass.SCRATCH_EXHAUSTED
    site.recover(specs, plan)
