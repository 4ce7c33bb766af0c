"""Who an agent is, and what its Mac can do: the answers to GET /v1/identity and GET /v1/machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, Digest, StatusModel, open_enum
from voxfleet_api.endpoint_lanes import LaneStatus
from voxfleet_api.pools import PoolKind


class Identity(StatusModel):
    """Answer to GET /v1/identity?nonce=. The signature covers IDENTITY_CONTEXT and `identity_claim`."""

    hardware_id: str
    control_plane: str | None = None
    public_key: str
    nonce: str
    signature: str


def nonce_for_port(unpredictable: str, port: int) -> str:
    """A nonce that the agent signs only for callers of this port of its own.

    Somebody else on the Mac could listen on the port that the operator calls, and hand the nonce on to the agent on
    another one. An agent that does not know of this signs it as any nonce.
    """
    return f"{unpredictable}@{port}"


def port_of_nonce(nonce: str) -> int | None:
    """The port that a nonce is for; None: any."""
    _, _, port = nonce.partition("@")
    return int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else None


def identity_claim(identity: Identity) -> dict[str, object]:
    """Returns the signed part of an Identity."""
    return {"hardwareId": identity.hardware_id, "controlPlane": identity.control_plane, "nonce": identity.nonce}


class PoolFacts(StatusModel):
    name: str
    kind: Annotated[str, OPEN_VALUE, open_enum(PoolKind)]
    lanes: int
    free_lanes: int
    memory_cap_bytes: int | None = None
    """Of each lane; None: an agent that does not say."""


class ReservedFacts(StatusModel):
    """Memory that the agent leaves to a co-tenant."""

    name: str
    memory_bytes: int


class Capability(StrEnum):
    """What an agent can do that not every agent can. A version number would not tell of a fork or a patch."""

    NAMESPACE_ACCESS = "NamespaceAccess"  # it keeps each attempt within AttemptRequest.uri_prefixes
    RETURNS_AT_NEXT_CLIP = "ReturnsAtNextClip"  # it does what RenewRequest asks beyond the renewal
    CHOSEN_CLIPS = "ChosenClips"  # it knows PlanSpec.only and .source, and the `source_index` of rows
    SHARD_PIECES = "ShardPieces"  # it runs a part of a planned shard (ProcessSpec.inherits)
    LEDGER_CHAINS = "LedgerChains"  # it lists its chains of rows, and serves those before the current one
    ENDPOINT_LANES = "EndpointLanes"  # it keeps lanes warm for VoiceEndpoints (/v1/lanes)


class LaneContention(StatusModel):
    """A lane that has worked much slower for minutes than its ladder measured."""

    lane: str
    slowdown_percent: int
    """Its time beside the measured one, coarsely, as it was when this was found; 100: as measured."""


class MachineFacts(StatusModel):
    """Answer to GET /v1/machine."""

    hardware_id: str
    boot_id: str
    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    runtime_compatible: bool
    runtime_message: str
    capabilities: tuple[Annotated[str, OPEN_VALUE, open_enum(Capability)], ...] = ()
    pools: tuple[PoolFacts, ...]
    reserved: tuple[ReservedFacts, ...] | None = None
    """None: an agent that does not say."""
    usable_memory_bytes: int | None = None
    """How much all lanes and co-tenants may take together; None: an agent that does not say."""
    loaded_models: tuple[str, ...] = ()
    """Digests of the models that lanes hold in memory."""
    endpoint_lanes: tuple[LaneStatus, ...] = ()
    """The lanes of VoiceEndpoints: at most one for each lane of its Interactive pools, those that end, and those that
    failed, which hold none and are there until they are deleted or not renewed."""
    lacks_scratch: bool = False
    """Whether an attempt that needs a lane would be refused now for want of scratch (507)."""
    scratch_reserved_bytes: int | None = None
    """What attempts hold of scratch; None, as for the quota: an agent that does not say."""
    scratch_quota_bytes: int | None = None
    ledger_chain_id: str
    ledger_sequence: int
    ladder_profile: Digest | None = None
    """The `profile` of this Mac's ladders; None: an agent that takes no ladder from others."""
    ladders_revision: Annotated[str, Field(max_length=64)] | None = None
    """Another text means that GET /v1/ladders has another answer; None: the agent does not know that call."""
    contended_lanes: tuple[LaneContention, ...] | None = None
    """Those that somebody else on the Mac seems to slow down; None: an agent that does not say."""
