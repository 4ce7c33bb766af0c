"""Identifies a clip by its bytes and checks its header against a contract. Pure Python: Plan runs it without MLX.

mlx-audio-io trusts file names and hostile headers, so every clip passes this module first.
"""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_agent.audio.aiff import inspect_aiff
from voxfleet_agent.audio.caf import inspect_caf
from voxfleet_agent.audio.flac import inspect_flac
from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, Reader, damaged, unsupported
from voxfleet_agent.audio.m4a import inspect_m4a
from voxfleet_agent.audio.mp3 import begins_with_frame, inspect_mp3
from voxfleet_agent.audio.refused_formats import file_name
from voxfleet_agent.audio.wav import inspect_wav
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Decoder, Truncated
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_api.results import RowError

__all__ = ["HeaderFacts", "Reader", "contract_violation", "duration_violation", "inspect", "sniff"]

_HEAD_BYTES = 64


def inspect(reader: Reader, size_bytes: int) -> HeaderFacts:
    """Reads a clip's header. Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION).

    `reader` is a seekable binary file of `size_bytes`. Reads a few kilobytes, of an m4a up to 16 MiB.
    """
    clip = ClipReader(reader, size_bytes)
    return sniff(clip)(clip)


def sniff(clip: ClipReader) -> Callable[[ClipReader], HeaderFacts]:
    """Finds the clip's parser by its first bytes. Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR)."""
    head = clip.peek(0, _HEAD_BYTES)
    if not head:
        raise damaged("is empty")
    if head[:4] == b"RIFF":
        if head[8:12] != b"WAVE":
            raise unsupported("a RIFF file, but not of audio (such as an AVI film)")
        return inspect_wav
    if head[:4] == b"fLaC":
        return inspect_flac
    if head[4:8] == b"ftyp":
        return inspect_m4a
    if head[:4] == b"FORM":
        return inspect_aiff
    if head[:4] == b"caff":
        return inspect_caf
    if head[:3] == b"ID3" or begins_with_frame(clip):
        return inspect_mp3
    raise unsupported(file_name(head))


def contract_violation(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses the clip; None when its header violates no clause."""
    accepted = contract.input
    if facts.container not in accepted.containers:
        names = ", ".join(accepted.containers)
        return _violation(f"is a file of type {facts.container.value}; the contract accepts {names}")
    if facts.encoding not in accepted.encodings:
        names = ", ".join(accepted.encodings)
        return _violation(f"is encoded as {facts.encoding.value}; the contract accepts {names}")
    if Decoder.MLX_AUDIO_IO not in accepted.decoders:
        return _violation("can be decoded by mlx-audio-io alone, which the contract does not list in input.decoders")
    if facts.sample_rate_hz not in accepted.sample_rates_hz:
        rates = ", ".join(str(rate) for rate in accepted.sample_rates_hz)
        return _violation(f"is at {facts.sample_rate_hz} Hz; the contract accepts {rates} Hz")
    if facts.channels not in accepted.channels:
        counts = ", ".join(str(count) for count in accepted.channels)
        return _violation(f"has {facts.channels} channels; the contract accepts {counts}")
    if size_bytes > quantity_bytes(accepted.max_clip_bytes):
        return _violation(f"has {size_bytes} bytes; the contract accepts at most {accepted.max_clip_bytes}")
    if facts.truncation is not None and accepted.truncated is Truncated.REFUSE:
        return RowError(failure_class=FailureClass.DECODE_ERROR, reason=facts.truncation[:256])
    if facts.frames is None:
        return None  # only decoding finds the length
    return duration_violation(facts.audio_milliseconds, contract)


def duration_violation(audio_milliseconds: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses a clip of this duration; None when it accepts it."""
    accepted = contract.input
    if audio_milliseconds < duration_milliseconds(accepted.min_clip):
        return _violation(f"lasts {audio_milliseconds} ms; the contract accepts at least {accepted.min_clip}")
    if audio_milliseconds > duration_milliseconds(accepted.max_clip):
        return _violation(f"lasts {audio_milliseconds} ms; the contract accepts at most {accepted.max_clip}")
    return None


def _violation(reason: str) -> RowError:
    return RowError(failure_class=FailureClass.CONTRACT_VIOLATION, reason=reason[:256])
