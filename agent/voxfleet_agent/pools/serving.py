"""The child's work: answers Load and Transcribe requests, one at a time and on one thread."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from voxfleet_agent.audio.decode import decode, open_clip
from voxfleet_agent.audio.headers import HeaderFacts, inspect, refuse
from voxfleet_agent.engine.transcriber import SpeechModel
from voxfleet_agent.pools.exits import gpu_abort
from voxfleet_agent.pools.messages import Decoded, Load, Loaded, Message, Refused, Transcribe, Verdict
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

Answer = Callable[[Message], None]
REASON_CHARACTERS = 256


def serve(next_request: Callable[[], Load | Transcribe], answer: Answer) -> None:
    """Works for as long as the process lives. `next_request` blocks."""
    model: SpeechModel | None = None
    while True:
        request = next_request()
        if isinstance(request, Load):
            model = None  # the old model's memory is free before the new one is read
            model = _load(request, answer)
        elif model is None:
            answer(Refused(failure_class=FailureClass.MODEL_UNAVAILABLE, message="the lane holds no model"))
        else:
            answer(_transcribe(request, model, answer))


def _load(request: Load, answer: Answer) -> SpeechModel | None:
    try:
        model = SpeechModel(request.folder)
    except Exception as error:  # noqa: BLE001 - a model's code raises what it likes; the parent hears of it
        traceback.print_exc(file=sys.stderr)
        answer(
            Refused(
                failure_class=gpu_abort(str(error)) or FailureClass.MODEL_UNAVAILABLE,
                message=f"the model in {request.folder} cannot be loaded: {type(error).__name__}: {error}"[:1024],
            )
        )
        return None
    answer(Loaded(sample_rate_hz=model.sample_rate_hz))
    return model


def _transcribe(request: Transcribe, model: SpeechModel, answer: Answer) -> Verdict | Refused:
    started = time.monotonic_ns()
    try:
        facts = _inspect(request.path, request.contract)
        clip = decode(request.path, facts, request.contract, model.sample_rate_hz)
    except VoxFleetError as error:
        return Verdict(
            failure_class=error.failure_class,
            reason=error.message[:REASON_CHARACTERS],
            decode_milliseconds=_milliseconds_since(started),
        )
    except OSError as error:
        return Refused(
            failure_class=FailureClass.SCRATCH_EXHAUSTED,
            message=f"the lane cannot use its scratch: {error.strerror}; check the disk and its free space",
        )
    decode_milliseconds = _milliseconds_since(started)
    answer(Decoded(audio_milliseconds=clip.audio_milliseconds))
    started = time.monotonic_ns()
    text: str | None = None
    failure_class: FailureClass | None = None
    reason = ""
    try:
        text = model.transcribe(clip.samples)
    except Exception as error:  # noqa: BLE001 - a model's code raises what it likes; the verdict names the type
        fault = gpu_abort(str(error))
        if fault is not None:
            return Refused(failure_class=fault, message="the GPU gave up the lane's work")
        failure_class = FailureClass.INFERENCE_ERROR
        reason = f"the model raised {type(error).__name__} on this clip"
    return Verdict(
        text=text,
        failure_class=failure_class,
        reason=reason,
        audio_milliseconds=clip.audio_milliseconds,
        attestation=clip.attestation,
        decode_milliseconds=decode_milliseconds,
        infer_milliseconds=_milliseconds_since(started),
    )


def _inspect(path: Path, contract: VoiceContractSpec) -> HeaderFacts:
    with open_clip(path) as file:
        size_bytes = path.stat().st_size
        facts = inspect(file, size_bytes)
    violation = refuse(facts, size_bytes, contract)
    if violation is not None:
        raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, violation.reason)
    return facts


def _milliseconds_since(started_ns: int) -> int:
    return (time.monotonic_ns() - started_ns) // 1_000_000
