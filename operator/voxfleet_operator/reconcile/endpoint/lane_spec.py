"""What a VoiceEndpoint's lanes are told. Pure."""

from __future__ import annotations

from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, EndpointRef, LaneRequest
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.job_status import AcceptedContract
from voxfleet_api.protocol import S3Credentials

ANY_GENERATION = 1


def lane_spec(
    endpoint: VoiceEndpoint, contract: AcceptedContract, generation: int = ANY_GENERATION
) -> EndpointLaneSpec:
    """The same for each lane but for its number: what differs between Macs is in the request around it."""
    metadata, spec, synthesis = endpoint.metadata, endpoint.spec, endpoint.spec.synthesis
    if synthesis is not None:
        synthesis = synthesis.model_copy(update={"streaming_interval": spec.streaming.interval})
    return EndpointLaneSpec(
        namespace=metadata.namespace,
        endpoint=EndpointRef(name=metadata.name, uid=metadata.uid),
        generation=generation,
        task=spec.task,
        model=spec.model,
        contract=contract.spec,
        contract_digest=contract.digest,
        transcription=spec.transcription,
        synthesis=synthesis,
        memory_cap=spec.memory_cap,
        max_sessions=spec.session.max_per_lane,
        max_turn_seconds=spec.session.max_turn_seconds,
        billing_key=spec.billing_key,
        yield_=spec.yield_,
    )


def told_digest(spec: EndpointLaneSpec) -> str:
    """Digest of what lanes are told but for their numbers: those with the same one hold the same."""
    return digest_of(spec.model_copy(update={"generation": ANY_GENERATION}).dump())


def lane_request(
    spec: EndpointLaneSpec,
    generation: int,
    lease_seconds: int,
    credentials: S3Credentials | None,
    uri_prefixes: tuple[str, ...],
    model_digest: str | None,
) -> LaneRequest:
    """`model_digest`: that of the endpoint's warm lanes; None: none was warm yet."""
    dumped = spec.model_copy(update={"generation": generation}).dump()
    return LaneRequest(
        spec_digest=digest_of(dumped),
        spec=dumped,
        lease_seconds=lease_seconds,
        credentials=credentials,
        uri_prefixes=uri_prefixes,
        model_digest=model_digest,
    )
