"""A finished baseline, the job that tried a Mac, and its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.operator.decisions.bodies import job_body, mac_agent

from voxfleet_api.acceptance import AcceptanceRecord, CitedRows
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.kinds.job_status import AcceptedContract
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import PlanFile
from voxfleet_api.rows import ClipStatus, ResultRow, RowError, Timings
from voxfleet_cli.acceptance.checks import AllowedDifference, Trial, acceptance_lines
from voxfleet_cli.acceptance.finished_run import FinishedRun
from voxfleet_cli.acceptance.peak_slice import peak_slice
from voxfleet_cli.acceptance.record import make_record

DIGEST = "sha256:" + "1" * 64
SINCE = "2026-11-30T06:00:00Z"
MACHINE: dict[str, Any] = {
    "hardwareId": "hw-1",
    "bootId": "boot-1",
    "chip": "Apple M4 Pro",
    "memoryBytes": 2**35,
    "os": "macOS 26.1",
    "pools": [{"name": "offline", "kind": "Offline", "lanes": 2}],
    "versions": {"mlx": "0.32.4"},
}
EXPECTED_TEXT = "one two three four"


def a_row(index: int, **given: Any) -> ResultRow:
    """A clip of 10 s that took the model 1 s."""
    row = ResultRow(
        index=index,
        custom_id=f"clip-{index}",
        status=ClipStatus.SUCCEEDED,
        text=EXPECTED_TEXT,
        audio_milliseconds=10_000,
        sha256=f"{index:064x}",
        timings=Timings(infer_milliseconds=1000),
        batch_size=1,
        retries=0,
        chip="Apple M4 Pro",
    )
    return row.model_copy(update=given)


def quarantined(index: int) -> ResultRow:
    return a_row(index, status=ClipStatus.QUARANTINED, text=None, error=RowError(reason="it is broken"), timings=None)


def a_run(*rows: ResultRow, **given: Any) -> FinishedRun:
    plan = PlanFile(
        manifest_sha256="2" * 64,
        model_digest=DIGEST,
        boundaries=(0, len(rows)),
        audio_seconds="40.000",
        contract_digest=DIGEST,
    )
    run = FinishedRun("3" * 64, "2" * 64, plan, "4" * 64, {row.index: row for row in rows})
    return replace(run, **given)


def a_contract(**spec: Any) -> AcceptedContract:
    accepted = VoiceContractSpec.load(
        {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}, **spec}
    )
    return AcceptedContract(digest=DIGEST, spec=accepted)


ROWS = CitedRows(
    shard_uid="shard-1",
    attempt=1,
    hardware_id="hw-1",
    ledger_key="A" * 43 + "=",
    chain_id="chain",
    first_sequence=4,
    last_sequence=6,
    rows=3,
    machine_milliseconds=5000,
    last_hash="5" * 64,
)
USAGE: dict[str, Any] = {
    "machineSeconds": "5.000",
    "productiveSeconds": "4.000",
    "overheadSeconds": "1.000",
    "rows": 3,
    "settled": True,
}


def a_trial(*rows: ResultRow, contract: AcceptedContract | None = None, **given: Any) -> Trial:
    """`given`: usage and scratch of the job's status, `failed` (why the job failed), `run` and `cited` of the trial."""
    failed = given.pop("failed", None)
    condition = {"type": "Complete", "status": "True", "reason": "Finished", "lastTransitionTime": SINCE}
    if failed is not None:
        condition |= {"type": "Failed", "reason": failed, "message": "too many"}
    body = job_body("accept-mac-a-1")
    body["metadata"]["uid"] = "job-1"
    body["status"] = {
        "observedGeneration": 1,
        "conditions": [condition],
        "usage": {**USAGE, **given.pop("usage", {})},
        "scratch": {"highWaterBytes": 1000, "residueBytes": 0, **given.pop("scratch", {})},
    }
    run = given.pop("run", a_run(*rows))
    return Trial(AudioBatchJob.load(body), contract or a_contract(), given.pop("cited", (ROWS,)), run)


BASELINE = a_run(*[a_row(index) for index in range(4)])


def a_mac(**spec: Any) -> MacAgent:
    return MacAgent.load({**mac_agent("mac-a", ledgerPublicKey="A" * 43 + "=", **spec), "status": {"machine": MACHINE}})


def a_record(trial: Trial | None = None, mac: MacAgent | None = None) -> AcceptanceRecord:
    tried = trial or a_trial(*BASELINE.rows.values())
    return make_record(
        tried,
        mac or a_mac(),
        BASELINE,
        peak_slice(BASELINE.rows),
        acceptance_lines(tried, BASELINE, BASELINE.rows, AllowedDifference()),
        control_plane="cluster-1",
        started_at=SINCE,
        now="2026-11-30T06:10:00Z",
    )
