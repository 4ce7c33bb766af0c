"""A full or read-only disk ends an attempt with its own class; the next attempt has every clip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from tests.component.faults.disk_site import Site, lay_out
from tests.component.faults.small_disk import SmallDisk, small_disk
from tests.rig.agent_process import AgentProcess

from voxfleet_api.failures import FailureClass


@dataclass
class SmallSite(Site):
    """An agent whose scratch, output and state lie on small disks."""

    scratch: SmallDisk = field(kw_only=True)
    output: SmallDisk = field(kw_only=True)
    state: SmallDisk = field(kw_only=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallSite]:
    root = tmp_path_factory.mktemp("disks")
    scratch = root / "mac" / "scratch"
    config = {"path": str(scratch), "quota": "2Gi", "minFree": "1Ki"}
    allow = lay_out(root)
    with (
        small_disk(scratch, "16m") as scratch_disk,
        small_disk(root / "out", "4m") as output_disk,
        small_disk(root / "mac" / "state", "32m") as state_disk,
        AgentProcess(root / "mac", allow, scratch=config) as agent,
    ):
        yield SmallSite(root, agent, scratch=scratch_disk, output=output_disk, state=state_disk)


def test_scratch_without_room_for_another_file(site: SmallSite) -> None:
    """Bytes are waited for, for minutes; that nothing more can be made, nobody can foresee."""
    specs, plan = site.plan()
    with site.scratch.out_of_files(spare_files=2):
        assert site.fail(specs, plan) is FailureClass.SCRATCH_EXHAUSTED
    site.recover(specs, plan)


def test_scratch_that_turns_read_only(site: SmallSite) -> None:
    specs, plan = site.plan()
    with site.scratch.read_only():
        assert site.fail(specs, plan) is FailureClass.SCRATCH_EXHAUSTED
    site.recover(specs, plan)


def test_output_without_room_for_a_part(site: SmallSite) -> None:
    specs, plan = site.plan()
    with site.output.full():
        assert site.fail(specs, plan) is FailureClass.TRANSPORT
    site.recover(specs, plan)


def test_journal_without_room(site: SmallSite) -> None:
    """The agent can promise nothing any more and ends; what it promised before, it keeps."""
    specs, plan = site.plan()
    (spec,) = specs.process(plan)
    with site.state.full(free_bytes=40_000):
        with contextlib.suppress(httpx.TransportError):
            site.agent.put(spec)  # it may end before it answers
        assert site.agent.mac.agent.wait_exit(30) != 0
    site.agent.mac.restart_agent()
    result = site.agent.succeed(spec)
    site.finish(specs, plan, spec, result)
