"""What a VoiceEndpoint's lanes are told. Pure."""

from __future__ import annotations

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.job_status import AcceptedContract
from voxfleet_api.lane_messages import LaneRequest, LaneSpec
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.quantities import quantity_bytes


def lane_spec(endpoint: VoiceEndpoint, contract: AcceptedContract) -> LaneSpec:
    """The same for each lane: what differs between Macs is in the request around it."""
    metadata, spec = endpoint.metadata, endpoint.spec
    return LaneSpec(
        namespace=metadata.namespace,
        endpoint=metadata.name,
        uid=metadata.uid,
        task=spec.task,
        model=spec.model,
        contract=contract.spec,
        contract_digest=contract.digest,
        transcription=spec.transcription,
        synthesis=spec.synthesis,
        memory_cap_bytes=quantity_bytes(spec.memory_cap),
        max_sessions=spec.session.max_per_lane,
        max_turn_seconds=spec.session.max_turn_seconds,
        billing_key=spec.billing_key,
    )


def lane_request(
    spec: LaneSpec, lease_seconds: int, credentials: S3Credentials | None, uri_prefixes: tuple[str, ...]
) -> LaneRequest:
    dumped = spec.dump()
    return LaneRequest(
        spec_digest=digest_of(dumped),
        spec=dumped,
        lease_seconds=lease_seconds,
        credentials=credentials,
        uri_prefixes=uri_prefixes,
    )
