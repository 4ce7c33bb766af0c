"""Whether a Mac fits a job, and if not, why; the reasons of all Macs are summed up in one pending reason. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.taints import Taint, untolerated
from voxfleet_operator.placement.snapshot import MacSlot, PendingShard, PlacementJob, Unavailable
from voxfleet_operator.reconcile.mac.availability import Obstacle
from voxfleet_operator.reconcile.namespace_access import covers, open_prefixes

UNSCHEDULABLE = Unavailable("is unschedulable", "are unschedulable")
DELETED = Unavailable("is being deleted", "are being deleted")
UNREACHABLE = Unavailable("unreachable", "unreachable")
DRAINING = Unavailable("draining", "draining")
UNUSABLE_HOURS = Unavailable(
    "has a spec.availability that cannot be read", "have a spec.availability that cannot be read"
)
OUTSIDE_WINDOW = Unavailable("is outside its availability window", "are outside their availability window")
OUTSIDE_RENTAL = Unavailable("is outside its rental", "are outside their rental")
DUPLICATE = Unavailable("reports another Mac's hardware or key", "report another Mac's hardware or key")
INCOMPATIBLE = Unavailable("has an incompatible runtime", "have an incompatible runtime")
UNVERIFIED = Unavailable("has ledger rows that do not verify", "have ledger rows that do not verify")
FAILS_TOO_OFTEN = Unavailable("is excluded because it fails too often", "are excluded because they fail too often")
WHOLE_MAC_PHRASES: Mapping[Obstacle, Unavailable] = {
    Obstacle.DELETED: DELETED,
    Obstacle.UNSCHEDULABLE: UNSCHEDULABLE,
    Obstacle.DRAINING: DRAINING,
    Obstacle.UNUSABLE_HOURS: UNUSABLE_HOURS,
    Obstacle.OUTSIDE_WINDOW: OUTSIDE_WINDOW,
    Obstacle.OUTSIDE_RENTAL: OUTSIDE_RENTAL,
    Obstacle.DUPLICATE: DUPLICATE,
    Obstacle.UNREACHABLE: UNREACHABLE,
    Obstacle.INCOMPATIBLE: INCOMPATIBLE,
    Obstacle.UNVERIFIED: UNVERIFIED,
    Obstacle.FAILS_TOO_OFTEN: FAILS_TOO_OFTEN,
}
SELECTOR = Unavailable("does not match the job's macSelector", "do not match the job's macSelector")
NO_ACCESS = Unavailable(
    "gives this namespace no access to the job's addresses (spec.access of MacAgent)",
    "give this namespace no access to the job's addresses (spec.access of MacAgent)",
)
KEEPS_NO_BOUNDS = Unavailable(
    "has an agent too old to keep the clips of a manifest within spec.access; upgrade it",
    "have agents too old to keep the clips of a manifest within spec.access; upgrade them",
)
LACKS_SCRATCH = Unavailable("is short of scratch space", "are short of scratch space")
KNOWS_NO_CHOICE = Unavailable(
    "has an agent too old for spec.only and spec.source; upgrade it",
    "have agents too old for spec.only and spec.source; upgrade them",
)
KNOWS_NO_PIECES = Unavailable(
    "has an agent too old to run a part of a shard; upgrade it",
    "have agents too old to run a part of a shard; upgrade them",
)
JUST_FAILED = Unavailable("just failed this shard", "just failed this shard")
COOLING = Unavailable("pauses after a failure", "pause after a failure")
CLOSES_TOO_SOON = Unavailable("closes before the shard would end", "close before the shard would end")
NO_LANE = Unavailable("has no free lane", "have no free lane")
NO_CONTROL_SLOT = Unavailable("plans or finalizes other jobs", "plan or finalize other jobs")

LEAST_LEFT_SECONDS = 600.0
"""A shard of which nobody knows how long it takes is started only while a Mac stays open for so long."""


def tainted(taint: Taint) -> Unavailable:
    return Unavailable(f"has an untolerated taint {taint}", f"have an untolerated taint {taint}")


def lacks_memory(needed: str) -> Unavailable:
    return Unavailable(f"lacks memory (need {needed})", f"lack memory (need {needed})")


def other_chip(wanted: Iterable[str]) -> Unavailable:
    families = " or ".join(wanted)
    return Unavailable(f"has another chip (need {families})", f"have another chip (need {families})")


def not_the_first_chip(first: str) -> Unavailable:
    end = f"has another chip than the job began on ({first})"
    return Unavailable(end, end.replace("has", "have", 1))


def lanes_too_small(model_bytes: int) -> Unavailable:
    end = f"lanes too small for the model, which has {-(-model_bytes // 2**20)} MiB"
    return Unavailable(f"has {end}", f"have {end}")


def has_access(job: PlacementJob, mac: MacSlot, namespace_labels: Mapping[str, str]) -> bool:
    """Whether the Mac opens all addresses of the job to its namespace."""
    return covers(open_prefixes(mac.access, namespace_labels), job.uris)


def static_reason(
    job: PlacementJob, mac: MacSlot, *, has_access: bool, needs_lane: bool = True, is_piece: bool = False
) -> Unavailable | None:
    """Why this Mac cannot run this job even with all its lanes free; None if it can.

    It may read all of job and Mac but what candidates.py says makes no difference. `has_access`: what `has_access`
    says. `needs_lane`: False for Plan and Finalize, which need less. `is_piece`: for a part of a planned shard.
    """
    if mac.unavailable is not None:
        return mac.unavailable
    if (taint := untolerated(mac.taints, job.tolerations)) is not None:
        return tainted(taint)
    if not job.mac_selector.matches(mac.labels):
        return SELECTOR
    if not has_access:
        return NO_ACCESS
    if job.names_clips_elsewhere and not mac.keeps_within_prefixes:
        return KEEPS_NO_BOUNDS
    if job.chooses_clips and not mac.knows_chosen_clips:
        return KNOWS_NO_CHOICE
    if is_piece and not mac.runs_pieces:
        return KNOWS_NO_PIECES
    wanted = job.requirements
    if wanted.memory is not None and mac.memory_bytes < quantity_bytes(wanted.memory):
        return lacks_memory(wanted.memory)
    if not wanted.takes_chip(mac.chip):
        return other_chip(wanted.chips)
    return _lane_reason(job, mac) if needs_lane else None


def _lane_reason(job: PlacementJob, mac: MacSlot) -> Unavailable | None:
    """Why none of its lanes can work on the job's clips."""
    if job.chip is not None and job.chip != mac.chip:
        return not_the_first_chip(job.chip)
    if job.model_bytes is not None and mac.lane_memory_bytes is not None and mac.lane_memory_bytes < job.model_bytes:
        return lanes_too_small(job.model_bytes)
    return LACKS_SCRATCH if mac.lacks_scratch else None


def capacity_reason(shard: PendingShard, mac: MacSlot, free: int, now: float) -> Unavailable | None:
    """Why this Mac cannot take the shard now. `free` is how many of its lanes, or control slots, are left."""
    if mac.not_before_seconds > now:
        return COOLING
    if mac.closes_seconds is not None:
        expected_seconds = LEAST_LEFT_SECONDS if shard.expected_seconds is None else shard.expected_seconds
        if mac.closes_seconds - now < expected_seconds:
            return CLOSES_TOO_SOON
    if free < 1:
        return NO_LANE if shard.needs_lane else NO_CONTROL_SLOT
    return None


def pending_reason(refusals: Iterable[tuple[MacSlot, Unavailable]], total: int) -> str:
    """`0/2 Macs fit: 1 unreachable (mac-b: no route to host), 1 has no free lane`."""
    if total == 0:
        return "0/0 Macs fit: there is no MacAgent; apply one"
    groups: dict[Unavailable, list[MacSlot]] = defaultdict(list)
    for mac, reason in refusals:
        groups[reason].append(mac)
    parts = [_phrase(reason, macs) for reason, macs in groups.items()]
    return f"0/{total} Macs fit: {', '.join(sorted(parts))}"


def _phrase(reason: Unavailable, macs: list[MacSlot]) -> str:
    text = f"{len(macs)} {reason.singular if len(macs) == 1 else reason.plural}"
    explained = min((mac for mac in macs if mac.detail and mac.unavailable is reason), key=_name, default=None)
    return text if explained is None else f"{text} ({explained.name}: {explained.detail})"


def _name(mac: MacSlot) -> str:
    return mac.name
