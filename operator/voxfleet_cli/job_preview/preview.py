"""What would become of a job: which Macs fit, what they may read, and what it would take. Pure.

The Macs are judged by placement's own filters, on what their MacAgents show.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.quantities import duration_milliseconds, hours_text, seconds_milliseconds
from voxfleet_api.selectors import LabelSelector
from voxfleet_billing.budget_use import Payer, budget_uses, month_of
from voxfleet_billing.expected_cost import Rented, hourly_price
from voxfleet_billing.price_book import PriceBook
from voxfleet_cli.expected_cost_text import cost_text
from voxfleet_cli.explainers.explanation import UNSEEN, Plain, without_empty
from voxfleet_cli.job_preview.budget_outlook import STATEMENTS_LAG, BudgetOutlook
from voxfleet_cli.mac_slots import slot_of
from voxfleet_operator.placement.filters import no_access, pending_reason, static_reason
from voxfleet_operator.placement.snapshot import MacSlot, Unavailable
from voxfleet_operator.placement.waiting import placement_job
from voxfleet_operator.reconcile.job.estimate import expected_cost
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.source import find_source
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook, seconds_until_done
from voxfleet_operator.reconcile.mac_closing import opens_at
from voxfleet_operator.reconcile.namespace_access import addresses_of, covers, names_clips_elsewhere, opened

COULD_RUN, COULD_NOT_RUN = "CouldRun", "CouldNotRun"
OPERATOR_ALONE = (
    "which lanes are free, what other jobs wait, which Macs pause after a failure, and which agents are too old to keep"
    " a manifest's clips within spec.access: only the operator knows"
)
MANIFEST_UNREAD = "the addresses inside the manifest, which the Mac that plans checks one by one"


@dataclass(frozen=True, slots=True)
class JobFindings:
    """What was read about a job; a list that is None could not be read."""

    job: AudioBatchJob | None
    """None if it is not even readable."""
    name: str
    namespace: str
    now: datetime
    problems: tuple[str, ...] = ()
    """Why the job is not valid."""
    contract: str | None = None
    """Where the contract was found."""
    contract_digest: str | None = None
    macs: Sequence[MacAgent] | None = ()
    labels: Mapping[str, str] | None = field(default_factory=dict)
    """The namespace's; None: every rule of every Mac counts as matching."""
    jobs: Sequence[AudioBatchJob] = ()
    """The namespace's other jobs: that of spec.source, and those that may have run the same model."""
    audio_milliseconds: int | None = None
    price_book: PriceBook | None = None
    used: Mapping[Payer, int] | None = None
    """Milliseconds of this month by payer, as statements count them; None: they could not be read."""
    notes: tuple[str, ...] = ()
    """What could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class _Judged:
    mac: MacSlot
    reason: Unavailable | None
    """Why it does not take the job now; None if it does."""
    later: bool = False
    """Whether it takes the job after a time that its reason names, without anybody doing anything."""


def preview(given: JobFindings) -> Plain:
    found = _with_source(given)
    job = found.job
    judged = [] if job is None else [_judged(job, mac, found) for mac in found.macs or ()]
    fitting = [item for item in judged if item.reason is None]
    later = [item for item in judged if item.later]
    runs = job is not None and not found.problems and (found.macs is None or bool(fitting or later))
    refusals = [(item.mac, item.reason) for item in judged if item.reason is not None]
    trouble = found.problems[0] if found.problems else pending_reason(refusals, len(judged))
    waits = "" if fitting or not later else f"; it waits: {pending_reason(refusals, len(judged))}"
    lanes = sum(item.mac.free_lanes for item in fitting or later)
    names = [item.mac.name for item in fitting or later]
    estimate = None if job is None or found.problems else _estimate(job, found, lanes, names)
    budgets = [] if job is None else _budgets(job, found, estimate)
    held = next((item.use.hold_reason for item in budgets if item.use.holds), None)
    waits = waits or ("" if held is None else f"; it waits: {held}")
    unseen = [OPERATOR_ALONE, *found.notes, *([STATEMENTS_LAG] if budgets else [])]
    if job is not None and names_clips_elsewhere(job.spec):
        unseen.append(MANIFEST_UNREAD)
    return without_empty(
        {
            "kind": AudioBatchJob.crd.kind,
            "namespace": found.namespace,
            "name": found.name,
            "state": COULD_RUN if runs else COULD_NOT_RUN,
            "next": f"apply it: kubectl apply -f FILE{waits}" if runs else trouble,
            "problems": list(found.problems),
            "contract": found.contract,
            "macs": [_mac_line(item) for item in judged],
            "addresses": [] if job is None else _addresses(job, found),
            "estimate": estimate,
            "budgets": [item.line for item in budgets],
            "notLookedAt": unseen,
        }
    )


def _with_source(found: JobFindings) -> JobFindings:
    """Accepts a rerun's earlier job as the operator would, so that the rerun is judged by its folder, too."""
    job = found.job
    if job is None or job.spec.source is None:
        return found
    name = job.spec.source.job_ref.name
    source = find_source(job, next((other for other in found.jobs if other.metadata.name == name), None))
    if isinstance(source, AcceptedSource):
        return replace(found, job=job.model_copy(update={"status": job.status.model_copy(update={"source": source})}))
    if source is None:
        return found
    if not source.waits:
        return replace(found, problems=(*found.problems, source.blocker.message))
    unseen = f"the output folder of job {name}, which the Macs must open: the rerun {source.blocker.message}"
    return replace(found, notes=(*found.notes, unseen))


def stored_slot(mac: MacAgent, now: datetime) -> MacSlot:
    """With all lanes free."""
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    unavailable = None
    if available is None:
        unavailable = Unavailable(UNSEEN, UNSEEN)
    elif available.status != "True":
        unavailable = Unavailable(available.message, available.message)
    slot = slot_of(mac, now)
    return replace(slot, traits=replace(slot.traits, unavailable=unavailable))


def _judged(job: AudioBatchJob, mac: MacAgent, found: JobFindings) -> _Judged:
    slot = stored_slot(mac if found.labels is not None else _open_to_all(mac), found.now)
    common = placement_job(job, JobShards.of(job, ()))
    needs, traits, closed = common.needs, slot.traits, no_access(common, slot.traits, found.labels or {})
    if not _opens_by_itself(mac, found.now):
        return _Judged(slot, static_reason(needs, traits, slot.labels, closed=closed))
    once_open = static_reason(needs, replace(traits, unavailable=None), slot.labels, closed=closed)
    return _Judged(slot, once_open or traits.unavailable, later=once_open is None)


def _opens_by_itself(mac: MacAgent, now: datetime) -> bool:
    """Whether the Mac is closed for a while: for its hours, a rental that is yet to begin, failures or refusals."""
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    if available is None:
        return False
    closed = available.reason in (Reason.OUTSIDE_WINDOW, Reason.OUTSIDE_RENTAL)
    pauses = available.reason in (Reason.FAILS_TOO_OFTEN, Reason.REFUSES_ATTEMPTS)
    return pauses or (closed and opens_at(mac, now) is not None)


def _mac_line(judged: _Judged) -> Plain:
    """`fits`: now; `fitsLater`: of one that is closed for a while."""
    line: Plain = {"name": judged.mac.name, "fits": judged.reason is None, "lanes": judged.mac.free_lanes}
    if judged.later:
        line["fitsLater"] = True
    return line if judged.reason is None else {**line, "reason": judged.reason.singular}


def _addresses(job: AudioBatchJob, found: JobFindings) -> list[Plain]:
    """For each address that the job names, the Macs that open it to the namespace and the job's billing key."""
    shown = [mac if found.labels is not None else _open_to_all(mac) for mac in found.macs or ()]
    prefixes = {
        mac.metadata.name: opened(mac.spec.access, found.labels or {}, job.spec.billing_key).prefixes for mac in shown
    }
    open_on = {
        uri: [name for name, below in prefixes.items() if covers(below, [uri])]
        for uri in dict.fromkeys(addresses_of(job))
    }
    return [{"uri": uri, "openOn": ", ".join(names) or "no Mac"} for uri, names in open_on.items()]


def _open_to_all(mac: MacAgent) -> MacAgent:
    rules = tuple(rule.model_copy(update={"namespace_selector": LabelSelector()}) for rule in mac.spec.access)
    return mac.model_copy(update={"spec": mac.spec.model_copy(update={"access": rules})})


def _estimate(job: AudioBatchJob, found: JobFindings, lanes: int, macs: Collection[str]) -> Plain:
    """`macs`: those that take the job, by name."""
    pace, by = _pace(job, found)
    rented = [
        Rented(billing.lessor, billing.sku)
        for mac in found.macs or ()
        if mac.metadata.name in macs and (billing := mac.spec.billing) is not None and billing.lessor is not None
    ]
    price, most_seconds = hourly_price(found.price_book, rented, found.now.date()), job.spec.max_machine_seconds
    audio_milliseconds = found.audio_milliseconds
    plain: Plain = {"basedOn": by}
    if pace is not None:
        plain["audioSecondsPerMachineSecond"] = f"{pace:.1f}"
    if audio_milliseconds is None:
        plain["audio"] = "unknown: only Plan reads the clips' headers; give it with --audio, for example --audio 300h"
    if pace is None or audio_milliseconds is None:
        return plain
    machine_seconds = audio_milliseconds / 1000 / pace
    shards = max(1, ceil(audio_milliseconds / duration_milliseconds(job.spec.sharding.target_audio)))
    seconds = seconds_until_done(machine_seconds, min(job.spec.parallelism, shards), LaneOutlook(lanes=lanes))
    return without_empty(
        {
            **plain,
            "machineSeconds": ceil(machine_seconds),
            "machineHours": hours_text(ceil(machine_seconds * 1000)),
            "lanes": min(lanes, job.spec.parallelism, shards),
            "wallSeconds": None if seconds is None else ceil(seconds),
            "cost": None if price is None else cost_text(expected_cost(price, ceil(machine_seconds), most_seconds)),
        }
    )


def _budgets(job: AudioBatchJob, found: JobFindings, estimate: Plain | None) -> list[BudgetOutlook]:
    """Those that the job counts to."""
    if found.price_book is None or found.used is None:
        return []
    payer = Payer(found.namespace, job.spec.billing_key or "")
    uses = budget_uses(found.price_book.budgets, found.used, month_of(found.now))
    seconds = None if estimate is None else estimate.get("machineSeconds")
    needed = None if seconds is None else 1000 * int(seconds)
    return [BudgetOutlook(use, needed) for use in uses if use.concerns(payer)]


def _pace(job: AudioBatchJob, found: JobFindings) -> tuple[float | None, str]:
    """Audio seconds per machine second of earlier jobs with the same model, those with the same contract first."""
    alike = [other for other in found.jobs if other.spec.model == job.spec.model and other.spec.task is job.spec.task]
    timed = [(*_spent(other), other) for other in alike if all(_spent(other))]
    same = [item for item in timed if _digest(item[2]) == found.contract_digest]
    audio, machine = sum(item[0] for item in same or timed), sum(item[1] for item in same or timed)
    if not machine:
        return None, "nothing: no job of this namespace has run this model yet"
    names = ", ".join(sorted(item[2].metadata.name for item in same or timed)[:3])
    return audio / machine, f"job {names}" if same else f"job {names}, under another contract"


def _spent(job: AudioBatchJob) -> tuple[int, int]:
    """Audio and machine time, in milliseconds."""
    usage = job.status.usage
    return seconds_milliseconds(usage.audio_seconds), seconds_milliseconds(usage.machine_seconds)


def _digest(job: AudioBatchJob) -> str | None:
    return None if job.status.contract is None else job.status.contract.digest
