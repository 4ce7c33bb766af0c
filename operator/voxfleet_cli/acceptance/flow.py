"""An acceptance from the baseline to the MacAgent that names its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from voxfleet_api.acceptance import AcceptanceRecord
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_cli.acceptance.checks import AllowedDifference, Trial, acceptance_lines
from voxfleet_cli.acceptance.finished_run import FinishedRun, LocalFolder, UnreadableRun, read_run, run_at
from voxfleet_cli.acceptance.peak_slice import peak_rows, peak_slice
from voxfleet_cli.acceptance.record import OtherMachine, make_record
from voxfleet_cli.acceptance.trial import cited_rows, mac_to_try, now_text, run_trial
from voxfleet_cli.acceptance.trial_job import trial_job, trial_name
from voxfleet_cli.command_line import CLI_MANAGER, Refused
from voxfleet_cli.names import no_such
from voxfleet_operator.kube import Kube


@dataclass(frozen=True, slots=True)
class Order:
    job: Mapping[str, Any]
    """The job that the baseline ran, as it was written, with its namespace."""
    mac: str
    baseline: FinishedRun
    clips: int
    allowed: AllowedDifference
    results: Path | None
    """A copy of the job's output folder, if it is not on this machine."""
    timeout_seconds: float


async def tried(kube: Kube, order: Order) -> AcceptanceRecord:
    """Raises Refused, and NoSuchObject."""
    expected = peak_rows(order.baseline.rows, order.clips)
    if not expected:
        raise Refused("the baseline has no clip with a result, so there is nothing to run on the Mac")
    mac = await mac_to_try(kube, order.mac)
    chosen, started_at = peak_slice(expected), now_text()
    body = trial_job(order.job, mac, chosen.indexes, trial_name(order.mac, token_hex(3)))
    job = await run_trial(kube, mac, body, order.timeout_seconds)
    if job.status.contract is None:
        raise Refused(f"job {job.metadata.name} ended before it was accepted; voxfleet why {job.metadata.name}")
    try:
        trial = Trial(job, job.status.contract, await cited_rows(kube, job), _run_of(job, order.results))
        return make_record(
            trial,
            await _mac(kube, order.mac),
            order.baseline,
            chosen,
            acceptance_lines(trial, order.baseline, expected, order.allowed),
            control_plane=await kube.kube_system_uid(),
            started_at=started_at,
            now=now_text(),
        )
    except (OtherMachine, UnreadableRun) as error:
        raise Refused(str(error)) from error


async def tell(kube: Kube, record: AcceptanceRecord) -> None:
    """Writes what the record says into its MacAgent."""
    changes = {"acceptance": record.acceptance().dump()}
    await kube.change_spec(MacAgent, "", record.machine.mac, changes, field_manager=CLI_MANAGER)


async def _mac(kube: Kube, name: str) -> MacAgent:
    mac = await kube.get(MacAgent, "", name)
    if mac is None:
        raise no_such((MacAgent,), name, "")
    return mac


def _run_of(job: AudioBatchJob, copy: Path | None) -> FinishedRun | None:
    """The job's results; None if it has none. Raises UnreadableRun."""
    found = job.status.results
    if found is None:
        return None
    return read_run(run_at(found.uri) if copy is None else LocalFolder(copy), found.sha256)
