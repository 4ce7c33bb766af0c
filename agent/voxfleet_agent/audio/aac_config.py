"""AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2): the rate and the channels of AAC, and what it leaves open."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import damaged, refused

_AAC_OBJECT_TYPES = (1, 2, 4, 5, 29)  # Main, LC, LTP, spectral band replication, and parametric stereo
_OBJECT_TYPES = {3: "AAC SSR", 23: "AAC-LD", 36: "MPEG-4 ALS", 39: "AAC-ELD", 42: "xHE-AAC"}
_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}
_PACKET_FRAMES, _SHORT_PACKET_FRAMES = 1024, 960
_REPLICATION, _PARAMETRIC_STEREO = 5, 29
_REPLICATION_SYNC, _STEREO_SYNC = 0x2B7, 0x548
_MAX_REPLICATED_RATE_HZ = 96_000


@dataclass(frozen=True, slots=True)
class AacFormat:
    """What AAC decodes to."""

    sample_rate_hz: int
    channels: int
    replication: int
    """2 where spectral band replication doubles the rate of the core, else 1."""
    others: tuple[tuple[int, int], ...]
    """Other (rate in hertz, channels): the stream itself may use replication or parametric stereo without a word here,
    and decoders make two channels of mono wherever parametric stereo is possible."""
    core_packet_frames: int = _PACKET_FRAMES
    """What a packet decodes to without replication."""

    @property
    def packet_frames(self) -> int:
        """What a packet decodes to."""
        return self.core_packet_frames * self.replication


def aac_format(config: memoryview) -> AacFormat:
    """Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION)."""
    bits = _Bits(config)
    object_type = bits.object_type()
    if object_type not in _AAC_OBJECT_TYPES:
        name = _OBJECT_TYPES.get(object_type, f"MPEG-4 audio of object type {object_type}")
        raise refused(f"is an m4a file of {name}; accepted are AAC LC and HE-AAC")
    core_hz = bits.rate_hz()
    channel_code = bits.read(4)
    replicated_hz: int | None = None
    stereo: bool | None = None  # None: it does not say
    if object_type in (_REPLICATION, _PARAMETRIC_STEREO):
        replicated_hz = bits.rate_hz()
        stereo = True if object_type == _PARAMETRIC_STEREO else None
        bits.object_type()  # of the core
    if channel_code not in _CHANNELS:
        raise refused("describes its channels one by one; accepted are AAC's named layouts")
    channels = _CHANNELS[channel_code]
    said_without = False
    core_frames = _SHORT_PACKET_FRAMES if bits.remaining and bits.read(1) else _PACKET_FRAMES
    if replicated_hz is None:
        replicated_hz, stereo, said_without = _backward_compatible(bits)
    if said_without:
        return AacFormat(core_hz, channels, 1, (), core_frames)
    if replicated_hz is None:
        doubled = ((2 * core_hz, channels), (2 * core_hz, 2)) if 2 * core_hz <= _MAX_REPLICATED_RATE_HZ else ()
        return AacFormat(core_hz, channels, 1, tuple(dict.fromkeys(doubled)), core_frames)
    ratio = 2 if replicated_hz > core_hz else 1
    if channels != 1 or stereo is False:
        return AacFormat(replicated_hz, channels, ratio, (), core_frames)
    if stereo:
        return AacFormat(replicated_hz, 2, ratio, (), core_frames)
    return AacFormat(replicated_hz, 1, ratio, ((replicated_hz, 2),), core_frames)


def _backward_compatible(bits: _Bits) -> tuple[int | None, bool | None, bool]:
    """Reads what follows the length of a core's packets: (rate with replication, parametric stereo, says that it has
    none)."""
    if bits.remaining < 2:
        return None, None, False
    if bits.read(1):
        if bits.remaining < 15:
            return None, None, False
        bits.read(14)  # delay of a core coder
    bits.read(1)  # extension flag
    if bits.remaining < 16 or bits.read(11) != _REPLICATION_SYNC or bits.object_type() != _REPLICATION:
        return None, None, False
    if bits.remaining < 1 or not bits.read(1):
        return None, None, True
    replicated_hz = bits.rate_hz()
    if bits.remaining >= 12 and bits.read(11) == _STEREO_SYNC:
        return replicated_hz, bool(bits.read(1)), False
    return replicated_hz, None, False


class _Bits:
    """Reads numbers of any bit length, most significant bit first."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data[:32], "big")
        self.remaining = len(data[:32]) * 8

    def read(self, count: int) -> int:
        if count > self.remaining:
            raise damaged("has a description of its AAC that is too short")
        self.remaining -= count
        return (self._value >> self.remaining) & ((1 << count) - 1)

    def object_type(self) -> int:
        value = self.read(5)
        return 32 + self.read(6) if value == 31 else value

    def rate_hz(self) -> int:
        index = self.read(4)
        if index == 15:
            return self.read(24)
        if index >= len(_RATES_HZ):
            raise damaged("has a description of its AAC with an unknown rate")
        return _RATES_HZ[index]
