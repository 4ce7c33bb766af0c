"""Makes the record of an acceptance out of what was read. Pure."""

from __future__ import annotations

from voxfleet_api.acceptance import AcceptanceRecord, Baseline, PeakSlice, Rental, TriedJob, TriedMachine
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_acceptance import AcceptanceLine
from voxfleet_cli.acceptance.checks import Trial
from voxfleet_cli.acceptance.finished_run import FinishedRun


class OtherMachine(Exception):
    """What signed the rows is not the machine that the MacAgent shows."""


def make_record(
    trial: Trial,
    mac: MacAgent,
    baseline: FinishedRun,
    chosen: PeakSlice,
    lines: tuple[AcceptanceLine, ...],
    *,
    control_plane: str,
    started_at: str,
    now: str,
) -> AcceptanceRecord:
    """`mac`: as it is once the job has ended. Raises OtherMachine."""
    machine = _machine(mac)
    for rows in trial.cited:
        if (rows.hardware_id, rows.ledger_key) != (machine.hardware_id, machine.ledger_public_key):
            raise OtherMachine(
                f"attempt {rows.attempt} of shard {rows.shard_uid} was signed by machine {rows.hardware_id}, and"
                f" mac/{machine.mac} is now {machine.hardware_id}; try the Mac again"
            )
    job = trial.job
    return AcceptanceRecord(
        control_plane=control_plane,
        machine=machine,
        rental=_rental(mac),
        baseline=Baseline(
            index_sha256=baseline.index_sha256,
            manifest_sha256=baseline.manifest_sha256,
            contract_digest=baseline.plan.contract_digest,
            model_digest=baseline.plan.model_digest,
            chips=baseline.chips,
        ),
        slice=chosen,
        job=TriedJob(
            namespace=job.metadata.namespace,
            name=job.metadata.name,
            uid=job.metadata.uid,
            spec_digest=digest_of(job.spec),
            contract_digest=trial.contract.digest,
            model_digest=None if job.status.plan is None else job.status.plan.model_digest,
            index_sha256=None if trial.run is None else trial.run.index_sha256,
            bundle_sha256=None if trial.run is None else trial.run.bundle_sha256,
        ),
        rows=tuple(trial.cited),
        started_at=started_at,
        accepted_at=now,
        passed=all(line.passed for line in lines),
        lines=lines,
    )


def _machine(mac: MacAgent) -> TriedMachine:
    machine = mac.status.machine
    if machine is None:
        raise OtherMachine(f"mac/{mac.metadata.name} shows no machine any more; try it again")
    return TriedMachine(
        mac=mac.metadata.name,
        hardware_id=machine.hardware_id,
        boot_id=machine.boot_id or "",
        ledger_public_key=mac.spec.ledger_public_key,
        chip=machine.chip,
        memory_bytes=machine.memory_bytes,
        os=machine.os,
        versions=machine.versions,
    )


def _rental(mac: MacAgent) -> Rental:
    billing, hours = mac.spec.billing, mac.spec.availability
    return Rental(
        lessor=None if billing is None else billing.lessor,
        sku=None if billing is None else billing.sku,
        billing_key=None if billing is None else billing.billing_key,
        rental_start=None if hours is None else hours.rental_start,
        rental_end=None if hours is None else hours.rental_end,
    )
