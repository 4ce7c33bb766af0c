"""What placement decides on, and what it decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint, Toleration

CONTROL_SLOTS = 2
"""How many Plan and Finalize attempts a Mac takes at a time; they hold no lane."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a Mac takes no attempt, as a phrase about one Mac and one about several."""

    singular: str
    plural: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class JobNeeds:
    """What a job asks of a Mac. Jobs with equal needs fit the same Macs, as far as these open their addresses."""

    mac_selector: LabelSelector = field(default_factory=LabelSelector)
    tolerations: tuple[Toleration, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    model_bytes: int | None = None
    """The size of the model's weights; None before the plan, or if its agent did not say."""
    chip: str | None = None
    """The chip on which a homogeneous job began; None while it may still begin on any."""
    names_clips_elsewhere: bool = False
    """Whether it reads addresses that only its agent sees, as those in a manifest."""
    chooses_clips: bool = False
    """Whether it needs an agent that knows spec.only and spec.source."""
    tries_mac_as: str | None = None
    """Its UID, if it is to try a Mac for its acceptance: it runs only on the one that names it."""


@dataclass(frozen=True, slots=True)
class PlacementJob:
    """What the shards of one job have in common, however many of them run."""

    uid: str
    namespace: str
    name: str
    created: str
    uris: tuple[str, ...]
    """All addresses that the job names."""
    parallelism: int
    priority: int = 0
    needs: JobNeeds = field(default_factory=JobNeeds)
    model_digest: str | None = None
    has_pieces: bool = False
    """Whether one of its shards was split."""
    billing_key: str | None = None


class ShardDemand(NamedTuple):
    """What a shard asks of a Mac beside what its job needs. Nothing else of it is looked at."""

    needs_lane: bool
    is_piece: bool
    expected_seconds: float | None


@dataclass(frozen=True, slots=True)
class PendingShard:
    """A shard that needs an attempt: it never had one, the last one ended, or the Mac of the last one is lost."""

    uid: str
    name: str
    job: PlacementJob
    stage: Stage
    ordinal: int
    next_attempt: int
    avoid: str | None = None
    """The Mac on which the last attempt ended badly."""
    not_before_seconds: float = 0.0
    """Monotonic time until which it pauses after a failed attempt."""
    is_piece: bool = False
    """Whether its agent must know parts of planned shards: it is one, or it merges their results."""
    replaces_lost: bool = False
    """The last attempt is still assigned to a lost Mac, and the job's live lanes already include it."""
    waits_since: str = ""
    """When the shard was created."""
    expected_seconds: float | None = None
    """How long it will hold a Mac; None: unknown."""
    needs_lane: bool = field(init=False)
    demand: ShardDemand = field(init=False)
    rank: tuple[int, str, str, int, str] = field(init=False)
    """Within a namespace the lower one comes first: jobs by priority and age, then a job's shards by number."""

    def __post_init__(self) -> None:
        needs_lane, job = self.stage is Stage.PROCESS, self.job
        object.__setattr__(self, "needs_lane", needs_lane)
        object.__setattr__(self, "rank", (-job.priority, job.created, job.name, self.ordinal, self.name))
        object.__setattr__(self, "demand", ShardDemand(needs_lane, self.is_piece, self.expected_seconds))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class MacTraits:
    """What of a Mac decides which jobs it can run, however much it works on now. Macs with equal traits are alike."""

    access: tuple[Access, ...] = ()
    taints: tuple[Taint, ...] = ()
    chip: str = ""
    memory_bytes: int = 0
    lane_memory_bytes: int | None = None
    """The memory cap of its roomiest lanes for batches; None if its agent does not say."""
    has_offline_lanes: bool = True
    """Whether it has any lane for batches. One without still plans and finalizes."""
    lacks_scratch: bool = False
    keeps_within_prefixes: bool = False
    """Whether its agent keeps each attempt within what is open to the namespace."""
    knows_chosen_clips: bool = False
    """Whether its agent knows spec.only and spec.source."""
    runs_pieces: bool = False
    """Whether its agent knows parts of planned shards."""
    tried_by: str | None = None
    """The UID of the job that tries it for its acceptance."""
    unavailable: Unavailable | None = None
    """Why it takes nothing at all."""
    unaccepted: Unavailable | None = None
    """Why it takes nothing but the job that tries it."""
    drains: bool = False
    """Whether it is being drained, whatever else keeps it from work."""


@dataclass(frozen=True, slots=True)
class MacSlot:
    """A Mac as placement sees it."""

    name: str
    traits: MacTraits = field(default_factory=MacTraits)
    labels: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""
    """What the Mac last showed, for people who ask why it takes nothing."""
    free_lanes: int = 0
    free_control_slots: int = CONTROL_SLOTS
    not_before_seconds: float = 0.0
    """Monotonic time until which it pauses after it refused or failed an attempt."""
    loaded_models: frozenset[str] = frozenset()
    closes_seconds: float | None = None
    """Monotonic time from which its attempts are called back; None: never."""
    opens_seconds: float | None = None
    """Of a closed Mac: the monotonic time when it opens; None: never, or it is open."""


@dataclass(frozen=True, slots=True)
class NamespaceStanding:
    """What a namespace has had of the Macs."""

    held_lanes: int = 0
    used_seconds: float = 0.0
    """Its recent machine time, of which the older part counts less, and what its lanes have worked so far."""
    waited_seconds: float = 0.0
    """For how long it has had work for a lane and was given none; 0 if it has no such work."""
    weight: int = 1
    """Its share of the Macs, compared with the other namespaces' weights."""


@dataclass(frozen=True, slots=True)
class PlacementSnapshot:
    shards: tuple[PendingShard, ...]
    macs: tuple[MacSlot, ...]
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    standings: Mapping[str, NamespaceStanding] = field(default_factory=dict)
    """By namespace; one that is left out has had nothing."""
    live_lanes: Mapping[str, int] = field(default_factory=dict)
    """By job UID: how many of its Process attempts are assigned and not over; 0 for one that is left out."""
    over_budget: Mapping[str, str] = field(default_factory=dict)
    """By job UID: why none of its shards gets a new lane, of those whose budget is used up."""
    budgets_renew_seconds: float | None = None
    """Monotonic time at which the month ends, and with it what budgets hold; None: they hold nothing."""


@dataclass(frozen=True, slots=True)
class Assignment:
    shard_uid: str
    attempt: int
    mac: str


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    assignments: tuple[Assignment, ...]
    pending: Mapping[str, str]
    """Why a job's next shard has no Mac, by job UID. Jobs that only wait for their own parallelism are left out."""
    wake_after_seconds: float | None = None
    """When the first pause ends, or the first Mac opens or closes."""
