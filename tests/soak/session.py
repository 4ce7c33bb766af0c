"""One seeded run: a job's three stages on one real agent, through kills, to its end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx
import psutil
from tests.component.corpus.job_specs import JobSpecs
from tests.soak.findings import Findings, count_repeated, count_rows, double_billed_seconds
from tests.soak.schedule import Kill, Schedule, Target

from voxfleet_api.digest import digest_of
from voxfleet_api.failures import RULES, Remedy
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import public_key, verify
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    AttemptRequest,
    AttemptSpec,
    AttemptState,
    AttemptStatus,
    LedgerPage,
    ShardResult,
)
from voxfleet_api.results import Commit, PlanResult, ResultRow, attempt_folder
from voxfleet_dev.mac import Mac
from voxfleet_dev.processes import wait_ended

CONTROL_PLANE, EPOCH = "soak-control-plane", "1"
STAGE_TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.05
MOST_ATTEMPTS = 4
ENDED = (AttemptState.SUCCEEDED, AttemptState.FAILED)
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
    """Works below `directory`, which it makes."""

    def __init__(self, schedule: Schedule, clips: Path, directory: Path) -> None:
        """`clips`: a folder with the clips and a manifest.jsonl that names them."""
        self.findings = Findings()
        self.struck: list[str] = []
        self._schedule = schedule
        self._directory = directory
        directory.mkdir(parents=True)
        self._manifest = directory / "input" / "manifest.jsonl"
        self._write_manifest(clips)
        self._output = directory / "results"
        self._output.mkdir()
        manifest = ManifestInput(uri=f"file://{self._manifest}")
        self._specs = JobSpecs(JobInput(manifest=manifest), f"file://{self._output}/", CONTRACT)
        self._mac = Mac(
            "soak",
            directory / "mac",
            allow=[f"file://{folder}/" for folder in (clips, self._manifest.parent, self._output)],
            batch_size=schedule.batch_size,
        )
        self._kills = list(schedule.kills)
        self._armed_at = 0.0
        self._recorded: dict[int, bytes] = {}
        self._children: set[psutil.Process] = set()
        self._http = httpx.Client(
            base_url=self._mac.url,
            headers={
                "Authorization": f"Bearer {self._mac.token}",
                CONTROL_PLANE_HEADER: CONTROL_PLANE,
                EPOCH_HEADER: EPOCH,
            },
            trust_env=False,
            timeout=30.0,
        )

    def run(self) -> Findings:
        """Never raises for what the agent did wrong: that is a finding."""
        try:
            self._mac.write_files()
            self._start_agent()
            self._job()
        except (RunFailed, httpx.HTTPError, OSError, ValueError) as error:
            self.findings.failures.append(f"{type(error).__name__}: {error}")
        finally:
            self._http.close()
            self._mac.stop()
        if survivors := wait_ended(self._children, 30.0):
            self.findings.failures.append(f"{len(survivors)} lanes outlived their agent")
        return self.findings

    def _write_manifest(self, clips: Path) -> None:
        rows = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()]
        by_id = {row["id"]: row | {"uri": f"file://{clips}/{row['uri']}"} for row in rows}
        self._manifest.parent.mkdir()
        self._manifest.write_text("".join(json.dumps(by_id[clip]) + "\n" for clip in self._schedule.clips))

    def _job(self) -> None:
        planned = self._stage(self._specs.plan()).plan
        if planned is None:
            raise RunFailed("Plan ended without a plan")
        process, delivered = self._process(planned)
        self._stage(self._specs.finalize(planned, [(process, delivered)]))
        self._check(len(self._schedule.clips), process)

    def _process(self, plan: PlanResult) -> tuple[AttemptSpec, ShardResult]:
        """A machine's failure is followed by the next attempt, as by the operator."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            (spec,) = self._specs.process(plan, attempt)
            try:
                return spec, self._stage(spec)
            except MachineFailed:
                self._recorded.clear()  # what was not uploaded is the next attempt's to do
        raise RunFailed(f"Process failed {MOST_ATTEMPTS} times for the machine's sake")

    @property
    def _folder(self) -> Path:
        return Path(self._specs.folder.removeprefix("file://"))

    def _stage(self, spec: AttemptSpec) -> ShardResult:
        request = AttemptRequest(spec_digest=digest_of(spec), spec=spec.dump(), lease_seconds=3600)
        path = f"/v1/attempts/{spec.shard_uid}/{spec.attempt}"
        deadline = time.monotonic() + STAGE_TIMEOUT_SECONDS
        self._armed_at = time.monotonic()
        told = False
        while time.monotonic() < deadline:
            self._strike()
            if not self._mac.agent.running:
                self._survived(spec)
                self._start_agent()
                told = False
            try:
                if not told:
                    self._http.put(path, json=request.dump()).raise_for_status()
                    told = True
                status = AttemptStatus.load(self._http.get(path).raise_for_status().json())
            except httpx.TransportError:
                time.sleep(POLL_SECONDS)  # it has died, or is about to
                continue
            if status.state in ENDED:
                return self._ended(spec, status)
            self._children.update(self._lanes())
            time.sleep(POLL_SECONDS)
        raise RunFailed(f"{spec.stage} did not end within {STAGE_TIMEOUT_SECONDS:g} s:\n{self._mac.agent.log_tail(10)}")

    def _ended(self, spec: AttemptSpec, status: AttemptStatus) -> ShardResult:
        self.findings.residue_bytes += status.scratch_residue_bytes
        failure = status.failure
        if failure is not None and RULES[failure.failure_class].remedy is Remedy.OTHER_MAC:
            raise MachineFailed(failure.message)
        if status.result is None:
            raise RunFailed(f"{spec.stage} failed: {failure}")
        return status.result

    def _start_agent(self) -> None:
        kill = self._kills[0] if self._kills else None
        edge = kill.edge if kill is not None else None
        if edge is not None:
            self._kills.pop(0)
            self.struck.append(f"agent at {edge}")
        self._armed_at = time.monotonic()
        try:
            self._mac.restart_agent({"VOXFLEET_CRASH_AT": edge} if edge is not None else None)
        except RuntimeError as error:  # an edge that lies in its own start
            if self._mac.agent.exit_code is None:
                raise RunFailed(str(error)) from error

    def _strike(self) -> None:
        if not self._kills or self._kills[0].target is Target.AGENT_AT_EDGE or not self._due(self._kills[0]):
            return
        kill = self._kills.pop(0)
        lanes = self._lanes()
        self._children.update(lanes)
        if kill.target in (Target.LANE, Target.BOTH):
            for lane in lanes:
                lane.kill()
        if kill.target in (Target.AGENT, Target.BOTH):
            self._mac.kill_agent()
        self.struck.append(f"{kill.target} after {kill.after_seconds} s")
        self._armed_at = time.monotonic()

    def _due(self, kill: Kill) -> bool:
        return self._mac.agent.running and time.monotonic() - self._armed_at >= kill.after_seconds

    def _lanes(self) -> list[psutil.Process]:
        if not self._mac.agent.running:
            return []
        return self._mac.agent.descendants()

    def _survived(self, spec: AttemptSpec) -> None:
        """What the dead agent had recorded must be what is delivered."""
        journal = self._mac.directory / "state" / "journal.sqlite3"
        if spec.stage is not Stage.PROCESS or not journal.exists():
            return
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT clip, line FROM clip_rows WHERE shard_uid = ?", (spec.shard_uid,))
            self._recorded |= {clip: bytes(line) for clip, line in found}

    def _check(self, total: int, process: AttemptSpec) -> None:
        rows = [
            ResultRow.model_validate_json(line)
            for name in ("results.jsonl", "errors.jsonl")
            for line in (self._folder / name).read_bytes().splitlines()
        ]
        commit_file = self._folder / attempt_folder(process.shard_uid, process.attempt) / "commit.json"
        commit = Commit.model_validate_json(commit_file.read_bytes())
        in_parts = [
            ResultRow.model_validate_json(line)
            for part in commit.parts
            for line in (self._folder / part.path).read_bytes().splitlines()
        ]
        for found in (rows, in_parts):
            lost, duplicated = count_rows(found, total)
            self.findings.lost += lost
            self.findings.duplicated += duplicated
        self.findings.repeated += count_repeated(self._recorded, rows)
        self._check_ledger()
        attempts = self._mac.scratch / "attempts"
        left = [path for path in attempts.rglob("*") if path.is_file()]
        self.findings.residue_bytes += sum(path.stat().st_size for path in left)
        if any(attempts.iterdir()):
            self.findings.failures.append("scratch holds folders of ended attempts")

    def _check_ledger(self) -> None:
        answer = self._http.get("/v1/ledger", params={"after": -1, "limit": 1000}).raise_for_status()
        body: Mapping[str, object] = answer.json()
        page = LedgerPage.load(body)
        verify(page.rows, public_key(self._mac.ledger_public_key))
        self.findings.double_billed_seconds += double_billed_seconds(signed.row for signed in page.rows)
