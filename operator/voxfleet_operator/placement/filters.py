"""Whether a Mac fits a job, and if not, why; the reasons of all Macs are summed up in one pending reason. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.taints import Taint, untolerated
from voxfleet_operator.placement.snapshot import JobNeeds, MacSlot, MacTraits, PlacementJob, ShardDemand, Unavailable
from voxfleet_operator.reconcile.mac.availability import Obstacle
from voxfleet_operator.reconcile.namespace_access import Opened, covers, opened

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
DELETION_HANGS = Unavailable("hangs deleting an attempt", "hang deleting an attempt")
OVERCOMMITTED = Unavailable(
    "promises more memory than it has (spec.pools and spec.reserved of MacAgent)",
    "promise more memory than they have (spec.pools and spec.reserved of MacAgent)",
)
FAILS_TOO_OFTEN = Unavailable("is excluded because it fails too often", "are excluded because they fail too often")
REFUSES_ATTEMPTS = Unavailable(
    "refuses attempts although it seems to have room", "refuse attempts although they seem to have room"
)
UNACCEPTED = Unavailable("awaits acceptance", "await acceptance")
NOT_TRIED = Unavailable(
    "does not name this job as the one that tries it (spec.acceptanceJob of MacAgent)",
    "do not name this job as the one that tries them (spec.acceptanceJob of MacAgent)",
)
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
    Obstacle.DELETION_HANGS: DELETION_HANGS,
    Obstacle.OVERCOMMITTED: OVERCOMMITTED,
    Obstacle.FAILS_TOO_OFTEN: FAILS_TOO_OFTEN,
    Obstacle.REFUSES_ATTEMPTS: REFUSES_ATTEMPTS,
    Obstacle.UNACCEPTED: UNACCEPTED,
}
SELECTOR = Unavailable("does not match the job's macSelector", "do not match the job's macSelector")
NO_ACCESS = Unavailable(
    "gives this namespace no access to the job's addresses (spec.access of MacAgent)",
    "give this namespace no access to the job's addresses (spec.access of MacAgent)",
)
OTHER_BILLING_KEYS = Unavailable(
    "does not take the job's billing key (spec.access[].billingKeys of MacAgent)",
    "do not take the job's billing key (spec.access[].billingKeys of MacAgent)",
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
ONLY_INTERACTIVE = Unavailable(
    "has no Offline lane (its pools are Interactive)", "have no Offline lane (their pools are Interactive)"
)
JUST_FAILED = Unavailable("just failed this shard", "just failed this shard")
COOLING = Unavailable("pauses after a failure", "pause after a failure")
CLOSES_TOO_SOON = Unavailable("closes before the shard would end", "close before the shard would end")
NO_LANE = Unavailable("has no free lane", "have no free lane")
NO_CONTROL_SLOT = Unavailable("plans or finalizes other jobs", "plan or finalize other jobs")

A_LANE = ShardDemand(needs_lane=True, is_piece=False, expected_seconds=None)
"""What a planned shard asks for of which nobody knows how long it takes."""
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


def no_access(job: PlacementJob, traits: MacTraits, namespace_labels: Mapping[str, str]) -> Unavailable | None:
    """Why the Mac does not open all addresses of the job to its namespace and billing key; None if it does."""
    return closed_to(opened(traits.access, namespace_labels, job.billing_key), job.uris)


def closed_to(found: Opened, uris: tuple[str, ...]) -> Unavailable | None:
    """Why not all of the addresses are open; None if they are."""
    if covers(found.prefixes, uris):
        return None
    return OTHER_BILLING_KEYS if covers(found.whatever_key, uris) else NO_ACCESS


def static_reason(
    needs: JobNeeds,
    traits: MacTraits,
    labels: Mapping[str, str],
    demand: ShardDemand = A_LANE,
    *,
    closed: Unavailable | None,
) -> Unavailable | None:
    """Why this Mac cannot run such shards of a job even with all its lanes free; None if it can.

    `labels`: at least those of the Mac's labels that the job selects by. `closed`: what `no_access` says.
    """
    if traits.unavailable is not None:
        return traits.unavailable
    if needs.tries_mac_as is not None and needs.tries_mac_as != traits.tried_by:
        return NOT_TRIED
    if traits.unaccepted is not None and needs.tries_mac_as is None:
        return traits.unaccepted
    if (taint := untolerated(traits.taints, needs.tolerations)) is not None:
        return tainted(taint)
    if not needs.mac_selector.matches(labels):
        return SELECTOR
    if closed is not None:
        return closed
    if needs.names_clips_elsewhere and not traits.keeps_within_prefixes:
        return KEEPS_NO_BOUNDS
    if needs.chooses_clips and not traits.knows_chosen_clips:
        return KNOWS_NO_CHOICE
    if demand.is_piece and not traits.runs_pieces:
        return KNOWS_NO_PIECES
    wanted = needs.requirements
    if wanted.memory is not None and traits.memory_bytes < quantity_bytes(wanted.memory):
        return lacks_memory(wanted.memory)
    if not wanted.takes_chip(traits.chip):
        return other_chip(wanted.chips)
    return _lane_reason(needs, traits) if demand.needs_lane else None


def _lane_reason(needs: JobNeeds, traits: MacTraits) -> Unavailable | None:
    """Why none of its lanes can work on the job's clips."""
    if not traits.has_offline_lanes:
        return ONLY_INTERACTIVE
    if needs.chip is not None and needs.chip != traits.chip:
        return not_the_first_chip(needs.chip)
    lane_bytes = traits.lane_memory_bytes
    if needs.model_bytes is not None and lane_bytes is not None and lane_bytes < needs.model_bytes:
        return lanes_too_small(needs.model_bytes)
    return LACKS_SCRATCH if traits.lacks_scratch else None


def capacity_reason(demand: ShardDemand, mac: MacSlot, free: int, now: float) -> Unavailable | None:
    """Why this Mac cannot take a shard now. `free` is how many of its lanes, or control slots, are left."""
    if mac.not_before_seconds > now:
        return COOLING
    if mac.closes_seconds is not None:
        expected_seconds = LEAST_LEFT_SECONDS if demand.expected_seconds is None else demand.expected_seconds
        if mac.closes_seconds - now < expected_seconds:
            return CLOSES_TOO_SOON
    if free < 1:
        return NO_LANE if demand.needs_lane else NO_CONTROL_SLOT
    return None


def pending_reason(refusals: Iterable[tuple[MacSlot, Unavailable]], total: int) -> str:
    """`0/2 Macs fit: 1 unreachable (mac-b: no route to host), 1 has no free lane`."""
    counts: Counter[Unavailable] = Counter()
    explained: dict[Unavailable, MacSlot] = {}
    for mac, reason in refusals:
        counts[reason] += 1
        if (
            mac.detail
            and reason in (mac.traits.unavailable, mac.traits.unaccepted)
            and (reason not in explained or mac.name < explained[reason].name)
        ):
            explained[reason] = mac
    return summed_up(counts, explained, total)


def summed_up(counts: Mapping[Unavailable, int], explained: Mapping[Unavailable, MacSlot], total: int) -> str:
    """`counts`: how many Macs each reason is of. `explained`: a Mac whose detail says more of one."""
    if total == 0:
        return "0/0 Macs fit: there is no MacAgent; apply one"
    parts = [_phrase(reason, count, explained.get(reason)) for reason, count in counts.items() if count]
    return f"0/{total} Macs fit: {', '.join(sorted(parts))}"


def _phrase(reason: Unavailable, count: int, explained: MacSlot | None) -> str:
    text = f"{count} {reason.singular if count == 1 else reason.plural}"
    return text if explained is None else f"{text} ({explained.name}: {explained.detail})"
