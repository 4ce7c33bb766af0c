"""How an endpoint hears where a client asks for nothing else. Pure."""

from __future__ import annotations

from http import HTTPStatus

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_session import TurnDetectionType
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.session_protocol import OpenHearing, VoiceActivity
from voxfleet_gateway.refusals import CallRefused


def default_detection(endpoint: VoiceEndpoint) -> VoiceActivity | None:
    detection = endpoint.spec.turn_detection
    if detection.type is TurnDetectionType.NONE:
        return None
    return VoiceActivity(
        threshold_percent=detection.threshold_percent,
        prefix_padding_milliseconds=duration_milliseconds(detection.prefix_padding),
        silence_milliseconds=duration_milliseconds(detection.silence),
    )


def open_hearing(
    endpoint: VoiceEndpoint,
    *,
    sample_rate_hz: int,
    detection: VoiceActivity | None,
    language: str | None,
    partials: bool = True,
) -> OpenHearing:
    """`partials`: the text of an open turn is told before its end."""
    return OpenHearing(
        sample_rate_hz=sample_rate_hz,
        voice_activity=detection,
        partial_milliseconds=duration_milliseconds(endpoint.spec.streaming.partial) if partials else None,
        max_turn_milliseconds=endpoint.spec.session.max_turn_seconds * 1000,
        language=language,
    )


def check_rate(contract: VoiceContractSpec, sample_rate_hz: int, param: str) -> None:
    """Raises CallRefused(422) for a rate that the contract does not accept."""
    accepted = contract.input.sample_rates_hz
    if sample_rate_hz not in accepted:
        raise CallRefused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "sample_rate_not_accepted",
            f"{param}: the contract accepts audio at {', '.join(map(str, accepted))} Hz and not at {sample_rate_hz} Hz",
            param=param,
        )


def reserved_rate_hz(contract: VoiceContractSpec, usual_hz: int) -> int:
    """The rate of a session that is held for a client which has not said its own."""
    accepted = contract.input.sample_rates_hz
    return usual_hz if usual_hz in accepted else accepted[0]
