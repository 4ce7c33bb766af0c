"""One seeded run: a job's three stages on one real agent, through kills, to its end."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs
from tests.soak import mortal_agent
from tests.soak.findings import Findings, count_repeated, count_rows, double_billed_seconds
from tests.soak.mortal_worker import Order, done_file
from tests.soak.schedule import Kill, Schedule, Victim

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import Remedy, rule_of
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import TERMINAL_STATES, AttemptStatus, ShardResult
from voxfleet_api.results import Commit, PlanResult, attempt_folder
from voxfleet_api.rows import ResultRow
from voxfleet_dev.processes import wait_ended
from voxfleet_shared.crash_points import EXIT_CODE, VARIABLE

STAGE_TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.05
MOST_ATTEMPTS = 4
CONTRACT = VoiceContractSpec(
    input=ContractInput(
        containers=(Container.WAV, Container.FLAC, Container.MP3, Container.M4A),
        sample_rates_hz=(8000, 16000, 22050, 44100, 48000),
        channels=(1, 2),
        max_clip="30s",
    ),
    conversions=Conversions(resample=Resample(to_hz=16000), downmix=Downmix()),
    quarantine=Quarantine(max_percent=100),
)


class RunFailed(Exception):
    """The job did not come to its end."""


class MachineFailed(Exception):
    """The attempt ended for a reason that lies in the machine: two kills in a row while a lane loads, say."""


class Session:
    """Works below `directory`, which it makes.

    An edge, a moment and a time of the stage are armed side by side; the next of each kind once the one before it has
    struck. Those that a stage did not meet are left out of `struck`.
    """

    def __init__(self, schedule: Schedule, clips: Path, directory: Path) -> None:
        """`clips`: a folder with the clips and a manifest.jsonl that names them."""
        self.findings = Findings()
        self.struck: list[Kill] = []
        self._schedule = schedule
        directory.mkdir(parents=True)
        self._manifest = directory / "input" / "manifest.jsonl"
        self._write_manifest(clips)
        output = directory / "results"
        output.mkdir()
        manifest = ManifestInput(uri=f"file://{self._manifest}")
        self._specs = JobSpecs(JobInput(manifest=manifest), f"file://{output}/", CONTRACT)
        self._agent = AgentProcess(
            directory / "mac",
            [f"file://{folder}/" for folder in (clips, self._manifest.parent, output)],
            pools=[{"name": "offline", "kind": "Offline", "lanes": 1, "batchSize": schedule.batch_size}],
        )
        self._mac = self._agent.mac
        self._order_file = (directory / "order").absolute()
        program = [sys.executable, mortal_agent.__file__, str(self._order_file)]
        self._mac.agent.argv = [*program, "serve", "--config", str(self._mac.config_file)]
        self._edges: list[Kill] = []
        self._moments: list[Kill] = []
        self._times: list[Kill] = []
        self._armed_edge: Kill | None = None
        self._waits_since = 0.0
        self._orders = 0
        self._recorded: dict[int, bytes] = {}
        self._children: set[psutil.Process] = set()

    def run(self) -> Findings:
        """Never raises for what the agent did wrong: that is a finding."""
        try:
            self._agent.write_files()
            self._job()
        except (RunFailed, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
            self.findings.failures.append(f"{type(error).__name__}: {error}")
        finally:
            self._agent.close()
        if survivors := wait_ended(self._children, 30.0):
            self.findings.failures.append(f"{len(survivors)} lanes outlived their agent")
        return self.findings

    def _write_manifest(self, clips: Path) -> None:
        rows = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()]
        by_id = {row["id"]: row | {"uri": f"file://{clips}/{row['uri']}"} for row in rows}
        self._manifest.parent.mkdir()
        self._manifest.write_text("".join(json.dumps(by_id[clip]) + "\n" for clip in self._schedule.clips))

    def _job(self) -> None:
        self._arm(Stage.PLAN)
        planned = self._attempt(self._specs.plan()).plan
        if planned is None:
            raise RunFailed("Plan ended without a plan")
        self._arm(Stage.PROCESS)
        process, delivered = self._process(planned)
        self._arm(Stage.FINALIZE)
        self._attempt(self._specs.finalize(planned, [(process, delivered)]))
        self._check(len(self._schedule.clips), process)

    def _process(self, plan: PlanResult) -> tuple[AttemptSpec, ShardResult]:
        """A machine's failure is followed by the next attempt, as by the operator."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            (spec,) = self._specs.process(plan, attempt)
            try:
                return spec, self._attempt(spec)
            except MachineFailed:
                self._recorded.clear()  # what was not uploaded is the next attempt's to do
        raise RunFailed(f"Process failed {MOST_ATTEMPTS} times for the machine's sake")

    def _arm(self, stage: Stage) -> None:
        """Takes up the stage's kills; an edge is armed by a start of the agent."""
        kills = [kill for kill in self._schedule.kills if kill.place.stage is stage]
        self._edges = [kill for kill in kills if kill.place.edge is not None]
        self._moments = [kill for kill in kills if kill.place.moment is not None]
        self._times = [kill for kill in kills if kill not in self._edges and kill not in self._moments]
        if self._edges or self._armed_edge is not None or not self._mac.agent.running:
            self._mac.agent.stop()
            self._start_agent()
        self._order_next_moment()
        self._waits_since = time.monotonic()

    def _start_agent(self) -> None:
        self._armed_edge = self._edges.pop(0) if self._edges else None
        environment = None
        if self._armed_edge is not None:
            edge = self._armed_edge.place.edge or ""
            environment = {VARIABLE: edge if "@" in edge else f"{edge}@{self._armed_edge.count}"}
        self._mac.restart_agent(environment)

    def _order_next_moment(self) -> None:
        self._order_file.unlink(missing_ok=True)
        done_file(self._order_file).unlink(missing_ok=True)
        if self._moments and (moment := self._moments[0].place.moment) is not None:
            self._orders += 1
            kill = self._moments[0]
            Order(number=self._orders, moment=moment, count=kill.count, victim=kill.place.victim).write(
                self._order_file
            )

    def _attempt(self, spec: AttemptSpec) -> ShardResult:
        deadline = time.monotonic() + STAGE_TIMEOUT_SECONDS
        told = False
        while time.monotonic() < deadline:
            self._strike()
            if not self._mac.agent.running:
                self._died(spec)
                told = False
            try:
                status = self._agent.status(spec) if told else self._agent.put(spec)
                told = True
            except httpx.TransportError:
                time.sleep(POLL_SECONDS)  # it has died, or is about to
                continue
            if status.state in TERMINAL_STATES:
                self._note_moment()
                return self._ended(spec, status)
            self._children.update(self._mac.agent.descendants())
            time.sleep(min(POLL_SECONDS, self._until_due_seconds()))
        raise RunFailed(f"{spec.stage} did not end within {STAGE_TIMEOUT_SECONDS:g} s:\n{self._mac.agent.log_tail(10)}")

    def _ended(self, spec: AttemptSpec, status: AttemptStatus) -> ShardResult:
        self.findings.residue_bytes += status.scratch_residue_bytes
        failure = status.failure
        if failure is not None and rule_of(failure.failure_class).remedy is Remedy.OTHER_MAC:
            raise MachineFailed(failure.message)
        if status.result is None:
            raise RunFailed(f"{spec.stage} failed: {failure}")
        return status.result

    def _strike(self) -> None:
        """Kills whose time has come, and notes the moment's, which the child itself dealt."""
        self._note_moment()
        if not self._times or not self._mac.agent.running or self._until_due_seconds() > 0:
            return
        lanes = self._mac.agent.descendants()
        if not lanes and self._times[0].place.victim is not Victim.AGENT:
            return  # it strikes the next one
        kill = self._times.pop(0)
        self._children.update(lanes)
        if kill.place.victim in (Victim.LANE, Victim.BOTH):
            for lane in lanes:
                lane.kill()
        if kill.place.victim in (Victim.AGENT, Victim.BOTH):
            self._mac.kill_agent()
        self._note(kill)

    def _until_due_seconds(self) -> float:
        """Until the next kill at any time."""
        if not self._times:
            return POLL_SECONDS
        return max(0.0, self._waits_since + self._times[0].after_seconds - time.monotonic())

    def _note_moment(self) -> None:
        if self._moments and done_file(self._order_file).exists():
            self._note(self._moments.pop(0))
            self._order_next_moment()

    def _note(self, kill: Kill) -> None:
        self.struck.append(kill)
        self._waits_since = time.monotonic()

    def _died(self, spec: AttemptSpec) -> None:
        """Notes why, keeps what the dead agent had recorded, which must be what is delivered, and starts it again."""
        if self._armed_edge is not None and self._mac.agent.exit_code == EXIT_CODE:
            self._note(self._armed_edge)
        elif self._armed_edge is not None:
            self._edges.insert(0, self._armed_edge)  # killed on the way there
        self._note_moment()
        journal = self._mac.directory / "state" / "journal.sqlite3"
        if spec.stage is Stage.PROCESS and journal.exists():
            with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
                found = database.execute("SELECT clip, line FROM clip_rows WHERE shard_uid = ?", (spec.shard_uid,))
                self._recorded |= {clip: bytes(line) for clip, line in found}
        self._start_agent()

    def _check(self, total: int, process: AttemptSpec) -> None:
        folder = self._specs.local_folder
        rows = [
            ResultRow.model_validate_json(line)
            for name in ("results.jsonl", "errors.jsonl")
            for line in (folder / name).read_bytes().splitlines()
        ]
        commit_file = folder / attempt_folder(process.shard_uid, process.attempt) / "commit.json"
        commit = Commit.model_validate_json(commit_file.read_bytes())
        in_parts = [
            ResultRow.model_validate_json(line)
            for part in commit.parts
            for line in (folder / part.path).read_bytes().splitlines()
        ]
        for found in (rows, in_parts):
            lost, duplicated = count_rows(found, total)
            self.findings.lost += lost
            self.findings.duplicated += duplicated
        self.findings.repeated += count_repeated(self._recorded, rows)
        self.findings.double_billed_seconds += double_billed_seconds(signed.row for signed in self._agent.ledger())
        attempts = self._mac.scratch / "attempts"
        left = [path for path in attempts.rglob("*") if path.is_file()]
        self.findings.residue_bytes += sum(path.stat().st_size for path in left)
        if any(attempts.iterdir()):
            self.findings.failures.append("scratch holds folders of ended attempts")
