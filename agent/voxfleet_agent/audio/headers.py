"""What a clip is, told by its bytes, and whether a contract accepts it. Pure Python: Plan runs it without MLX.

mlx-audio-io trusts file names and believes hostile headers, so nothing reaches it before this module has seen it.
"""

from __future__ import annotations

from voxfleet_agent.audio.facts import ClipReader, HeaderFacts, Reader, damaged, unsupported
from voxfleet_agent.audio.flac import inspect_flac
from voxfleet_agent.audio.m4a import inspect_m4a
from voxfleet_agent.audio.mp3 import begins_with_frame, inspect_mp3
from voxfleet_agent.audio.wav import inspect_wav
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_api.results import RowError

__all__ = ["HeaderFacts", "Reader", "inspect", "refuse", "refuse_duration"]

_FOREIGN = (
    (b"OggS", "an Ogg file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (b"RF64", "an RF64 file"),
    (b"BW64", "a BW64 file"),
    (b"RIFX", "a big-endian wav file (RIFX)"),
    (b"riff", "a Wave64 file"),
    (b"FORM", "an AIFF file"),
    (b"caff", "a Core Audio file (caf)"),
    (b"#!AMR", "an AMR file"),
    (b"0&\xb2u", "a Windows Media file"),
    (b"ADIF", "a raw AAC stream (ADIF)"),
    (b".snd", "an au file"),
    (b"MThd", "a MIDI file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
)


def inspect(reader: Reader, size_bytes: int) -> HeaderFacts:
    """Reads a clip's header. Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION).

    `reader` is a seekable binary file of `size_bytes`; a few kilobytes are read (an m4a's header: up to 16 MiB).
    """
    clip = ClipReader(reader, size_bytes)
    head = clip.peek(0, 16)
    if not head:
        raise damaged("is empty")
    if head[:4] == b"RIFF":
        if head[8:12] != b"WAVE":
            raise unsupported("a RIFF file, but not of audio")
        return inspect_wav(clip)
    if head[:4] == b"fLaC":
        return inspect_flac(clip)
    if head[4:8] == b"ftyp":
        return inspect_m4a(clip)
    if head[:3] == b"ID3" or begins_with_frame(clip):
        return inspect_mp3(clip)
    raise unsupported(_name(head))


def refuse(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses the clip; None: its header breaks no clause."""
    accepted = contract.input
    if facts.container not in accepted.containers:
        names = ", ".join(accepted.containers)
        return _violation(f"is a file of type {facts.container.value}; the contract accepts {names}")
    if facts.sample_rate_hz not in accepted.sample_rates_hz:
        rates = ", ".join(str(rate) for rate in accepted.sample_rates_hz)
        return _violation(f"is at {facts.sample_rate_hz} Hz; the contract accepts {rates} Hz")
    if facts.channels not in accepted.channels:
        counts = ", ".join(str(count) for count in accepted.channels)
        return _violation(f"has {facts.channels} channels; the contract accepts {counts}")
    if size_bytes > quantity_bytes(accepted.max_clip_bytes):
        return _violation(f"has {size_bytes} bytes; the contract accepts at most {accepted.max_clip_bytes}")
    if facts.frames is None:
        return None  # only decoding tells the length
    return refuse_duration(facts.audio_milliseconds, contract)


def refuse_duration(audio_milliseconds: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses a clip of this length."""
    accepted = contract.input
    if audio_milliseconds < duration_milliseconds(accepted.min_clip):
        return _violation(f"lasts {audio_milliseconds} ms; the contract accepts at least {accepted.min_clip}")
    if audio_milliseconds > duration_milliseconds(accepted.max_clip):
        return _violation(f"lasts {audio_milliseconds} ms; the contract accepts at most {accepted.max_clip}")
    return None


def _violation(reason: str) -> RowError:
    return RowError(failure_class=FailureClass.CONTRACT_VIOLATION, reason=reason[:256])


def _name(head: bytes) -> str:
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "a raw AAC stream (ADTS)"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "an MPEG audio stream that is not layer III"
    if head.lstrip()[:1] in (b"<", b"{", b"["):
        return "a text file (HTML, XML or JSON)"
    return f"not an audio file that can be told by its first bytes ({head[:4].hex(' ')})"
