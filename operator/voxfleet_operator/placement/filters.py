"""Whether a Mac fits a shard, and if not, why; the reasons of all Macs are summed up in one pending reason. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from voxfleet_operator.placement.snapshot import MacSlot, PendingShard, PlacementJob, Unavailable
from voxfleet_operator.reconcile.mac.availability import Obstacle
from voxfleet_operator.reconcile.namespace_access import covers, open_prefixes

UNSCHEDULABLE = Unavailable("is unschedulable", "are unschedulable")
DELETED = Unavailable("is being deleted", "are being deleted")
UNREACHABLE = Unavailable("unreachable", "unreachable")
DUPLICATE = Unavailable("reports another Mac's hardware or key", "report another Mac's hardware or key")
INCOMPATIBLE = Unavailable("has an incompatible runtime", "have an incompatible runtime")
UNVERIFIED = Unavailable("has ledger rows that do not verify", "have ledger rows that do not verify")
FAILS_TOO_OFTEN = Unavailable("is excluded because it fails too often", "are excluded because they fail too often")
WHOLE_MAC_PHRASES: Mapping[Obstacle, Unavailable] = {
    Obstacle.DELETED: DELETED,
    Obstacle.UNSCHEDULABLE: UNSCHEDULABLE,
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
KNOWS_NO_PIECES = Unavailable(
    "has an agent too old to run a part of a shard; upgrade it",
    "have agents too old to run a part of a shard; upgrade them",
)
JUST_FAILED = Unavailable("just failed this shard", "just failed this shard")
COOLING = Unavailable("pauses after a failure", "pause after a failure")
NO_LANE = Unavailable("has no free lane", "have no free lane")
NO_CONTROL_SLOT = Unavailable("plans or finalizes other jobs", "plan or finalize other jobs")


def static_reason(job: PlacementJob, mac: MacSlot, namespace_labels: Mapping[str, str]) -> Unavailable | None:
    """Why this Mac cannot run this job even with all its lanes free; None if it can."""
    if mac.unavailable is not None:
        return mac.unavailable
    if not job.mac_selector.matches(mac.labels):
        return SELECTOR
    if not covers(open_prefixes(mac.access, namespace_labels), job.uris):
        return NO_ACCESS
    if job.names_clips_elsewhere and not mac.keeps_within_prefixes:
        return KEEPS_NO_BOUNDS
    return None


def capacity_reason(shard: PendingShard, mac: MacSlot, free: int, now: float) -> Unavailable | None:
    """Why this Mac cannot take the shard now. `free` is how many of its lanes, or control slots, are left."""
    if shard.is_piece and not mac.runs_pieces:
        return KNOWS_NO_PIECES
    if mac.not_before_seconds > now:
        return COOLING
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
    explained = sorted((mac for mac in macs if mac.detail and mac.unavailable is reason), key=lambda mac: mac.name)
    if not explained:
        return text
    return f"{text} ({explained[0].name}: {explained[0].detail})"
