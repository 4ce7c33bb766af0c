"""A mounted file system that stops answering costs the attempts that need it, and nothing else of the agent."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from tests.component.faults.fault_run import QUICK
from tests.rig.agent_config import write_agent_config
from tests.rig.agent_process import AgentProcess
from tests.rig.fuse_mount import FuseMount, needs_fuse
from tests.rig.job_specs import JobSpecs

from voxfleet_agent.config import AgentConfig
from voxfleet_agent.doctor import volumes
from voxfleet_agent.doctor.finding import Health
from voxfleet_agent.doctor.volumes import check_volumes
from voxfleet_agent.exit_deadline import EXIT_SECONDS
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Mounts, Storage
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_model import BuiltinModel, ModelSource
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_corpus.sounds import SPEECH

CLIPS = {f"{number}.wav": SPEECH.read_bytes() for number in range(3)}
CONTRACT = QUICK.model_copy(update={"retries": QUICK.retries.model_copy(update={"max_retries": 0})})


@dataclass
class Site:
    """An agent with clips on a mount and clips on its own disk; both jobs write to its own disk."""

    agent: AgentProcess
    mount: FuseMount
    root: Path
    jobs: Iterator[int] = field(default_factory=itertools.count)

    def job(self, folder: str) -> JobSpecs:
        clips = JobInput(prefix=PrefixInput(uri=f"{(self.root / folder).as_uri()}/"))
        return JobSpecs(clips, f"{(self.root / 'out').as_uri()}/", CONTRACT, number=next(self.jobs))

    def shard(self, folder: str) -> AttemptSpec:
        """Runs Plan; returns the spec of the only shard."""
        specs = self.job(folder)
        (spec,) = specs.process(self.agent.plan(specs))
        return spec

    def until_hanging(self, spec: AttemptSpec, cursor: str, state: AttemptState) -> AttemptStatus:
        for event in self.agent.events(cursor):
            if event.attempt is not None and (event.attempt.shard_uid, event.attempt.state) == (spec.shard_uid, state):
                return event.attempt
        raise AssertionError("the stream of events ended")


def lay_out(root: Path) -> list[str]:
    for name in ("mount", "disk", "out"):
        (root / name).mkdir()
    for name, content in CLIPS.items():
        (root / "disk" / name).write_bytes(content)
    return [f"{(root / name).as_uri()}/" for name in ("mount", "disk", "out")]


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    allow = lay_out(tmp_path)
    with (
        FuseMount(tmp_path / "mount", CLIPS) as mount,
        AgentProcess(tmp_path / "mac", allow, fileTimeout=request.param) as agent,
    ):
        yield Site(agent, mount, tmp_path)


@needs_fuse
@pytest.mark.parametrize("site", ["2s"], indirect=True)
def test_an_attempt_on_a_dead_mount_fails_and_others_go_on(site: Site) -> None:
    dead, alive = site.shard("mount"), site.shard("disk")
    cursor = site.agent.attempts().cursor
    site.mount.hang()
    site.agent.put(dead)
    site.agent.plan(site.job("disk"))  # while the other one hangs on its lane
    failed = site.agent.until_ended(dead, cursor)
    assert failed.failure is not None and failed.failure.failure_class is FailureClass.TRANSPORT
    assert str(site.root / "mount") in failed.failure.message and "wav" not in failed.failure.message
    site.agent.succeed(alive)  # on the same lane
    site.mount.answer()
    site.agent.succeed(dead.model_copy(update={"attempt": 2}))


@needs_fuse
@pytest.mark.parametrize("site", ["1h"], indirect=True)
def test_a_lease_on_a_dead_mount_expires_and_the_agent_stops(site: Site) -> None:
    dead, alive = site.shard("mount"), site.shard("disk")
    listing = site.job("mount").plan()
    cursor = site.agent.attempts().cursor
    site.mount.hang()
    site.agent.put(dead, lease_seconds=1)
    site.agent.put(listing, lease_seconds=1)
    for spec in (dead, listing):
        site.until_hanging(spec, cursor, AttemptState.PARKED)
    site.agent.succeed(alive)
    site.agent.put(listing)  # it resumes, and hangs again
    site.agent.delete(listing)
    site.agent.put(dead)
    os.kill(site.agent.mac.agent.pid, signal.SIGTERM)
    assert site.agent.mac.agent.wait_exit(EXIT_SECONDS) == 0


@needs_fuse
async def test_a_models_folder_on_a_dead_mount_stops_no_other_model(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    models = ModelStore(tmp_path / "cache", 2**30)
    storage = Storage([], mounts=Mounts(call_seconds=0.2))
    dead = ModelSource(path=str(tmp_path / "mount"))
    with FuseMount(tmp_path / "mount", {"config.json": b"{}"}) as mount:
        mount.hang()
        ends = await asyncio.gather(*(models.resolve(dead, storage) for _ in range(40)), return_exceptions=True)
        builtin = await models.resolve(ModelSource(builtin=BuiltinModel(name="commands")), storage)
    failures = [end for end in ends if isinstance(end, VoxFleetError)]
    assert {(end.failure_class, str(tmp_path / "mount") in end.message) for end in failures} == {
        (FailureClass.TRANSPORT, True)
    }
    assert len(failures) == 40 and builtin.digest


@needs_fuse
def test_doctor_names_a_dead_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "ANSWER_SECONDS", 0.2)
    for name in ("mount", "disk"):
        (tmp_path / name).mkdir()
    content = yaml.safe_load(write_agent_config(tmp_path).read_text())
    allow = [f"{(tmp_path / name).as_uri()}/" for name in ("mount", "disk", "gone")]
    config = AgentConfig.load({**content, "allow": allow})
    with FuseMount(tmp_path / "mount", {}) as mount:
        mount.hang()
        found = [finding for finding in check_volumes(config) if finding.name == "allow"]
    assert [finding.health for finding in found] == [Health.FAIL, Health.OK, Health.WARN]
    assert str(tmp_path / "mount") in found[0].found
