"""What an AudioSpecificConfig says of rate and channels, and what it leaves to the stream."""

from __future__ import annotations

import pytest

from voxfleet_agent.audio.aac_config import AacFormat, aac_format
from voxfleet_api.failures import VoxFleetError


def config(*fields: tuple[int, int]) -> memoryview:
    """Of (bits, value)."""
    total = sum(bits for bits, _ in fields)
    number = 0
    for bits, value in fields:
        number = number << bits | value
    padding = -total % 8
    return memoryview((number << padding).to_bytes((total + padding) // 8, "big"))


LC, REPLICATION, STEREO = (5, 2), (5, 5), (5, 29)
HZ_22050, HZ_44100, HZ_48000 = (4, 7), (4, 4), (4, 3)
MONO, TWO = (4, 1), (4, 2)
PLAIN = ((1, 0), (1, 0), (1, 0))
SHORT = ((1, 1), (1, 0), (1, 0))
SYNC = (11, 0x2B7)
STEREO_SYNC = (11, 0x548)
UNSAID_22050 = ((44_100, 1), (44_100, 2))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # Nothing is said of replication: the stream may use it all the same, and mono may become two channels.
        (config(LC, HZ_22050, MONO, *PLAIN), AacFormat(22_050, 1, 1, UNSAID_22050)),
        (config(LC, HZ_22050, TWO, *PLAIN), AacFormat(22_050, 2, 1, ((44_100, 2),))),
        (config(LC, (4, 0), TWO, *PLAIN), AacFormat(96_000, 2, 1, ())),  # twice 96 kHz is no rate of AAC
        # Explicit and hierarchical: the object type is the extension's, and the core's follows.
        (config(REPLICATION, HZ_22050, TWO, HZ_44100, LC, *PLAIN), AacFormat(44_100, 2, 2, ())),
        (config(REPLICATION, HZ_22050, MONO, HZ_44100, LC, *PLAIN), AacFormat(44_100, 1, 2, ((44_100, 2),))),
        (config(STEREO, HZ_22050, MONO, HZ_44100, LC, *PLAIN), AacFormat(44_100, 2, 2, ())),
        # Replication that does not raise the rate.
        (config(REPLICATION, HZ_44100, TWO, HZ_44100, LC, *PLAIN), AacFormat(44_100, 2, 1, ())),
        # Explicit and backward-compatible: the core's config comes first.
        (config(LC, HZ_22050, TWO, *PLAIN, SYNC, REPLICATION, (1, 1), HZ_44100), AacFormat(44_100, 2, 2, ())),
        (
            config(LC, HZ_22050, MONO, *PLAIN, SYNC, REPLICATION, (1, 1), HZ_44100),
            AacFormat(44_100, 1, 2, ((44_100, 2),)),
        ),
        (
            config(LC, HZ_22050, MONO, *PLAIN, SYNC, REPLICATION, (1, 1), HZ_44100, STEREO_SYNC, (1, 1)),
            AacFormat(44_100, 2, 2, ()),
        ),
        (
            config(LC, HZ_22050, MONO, *PLAIN, SYNC, REPLICATION, (1, 1), HZ_44100, STEREO_SYNC, (1, 0)),
            AacFormat(44_100, 1, 2, ()),
        ),
        # Packets of 960 samples.
        (config(LC, HZ_22050, MONO, *SHORT), AacFormat(22_050, 1, 1, UNSAID_22050, 960)),
        (config(LC, HZ_22050, TWO, *SHORT, SYNC, REPLICATION, (1, 1), HZ_44100), AacFormat(44_100, 2, 2, (), 960)),
        (config(LC, HZ_22050, MONO, *SHORT, SYNC, REPLICATION, (1, 0)), AacFormat(22_050, 1, 1, (), 960)),
        (config(REPLICATION, HZ_22050, TWO, HZ_44100, LC, *SHORT), AacFormat(44_100, 2, 2, (), 960)),
        (config(STEREO, HZ_22050, MONO, HZ_44100, LC, *SHORT), AacFormat(44_100, 2, 2, (), 960)),
        # It says that the stream does not use replication.
        (config(LC, HZ_22050, MONO, *PLAIN, SYNC, REPLICATION, (1, 0)), AacFormat(22_050, 1, 1, ())),
        # A rate by its number.
        (config(LC, (4, 15), (24, 22_050), MONO, *PLAIN), AacFormat(22_050, 1, 1, UNSAID_22050)),
        (memoryview(bytes.fromhex("138856e5a548")), AacFormat(44_100, 1, 2, ((44_100, 2),))),
    ],
)
def test_reads_all_ways_to_signal_replication(data: memoryview, expected: AacFormat) -> None:
    assert aac_format(data) == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (config(LC), "too short"),
        (config(LC, (4, 13), MONO), "unknown rate"),
        (config(LC, HZ_48000, (4, 0), *PLAIN), "describes its channels one by one"),
        (config((5, 23), HZ_48000, MONO), "of AAC-LD"),
        (config((5, 31), (6, 10), HZ_48000, MONO), "of xHE-AAC"),
    ],
)
def test_refuses(data: memoryview, says: str) -> None:
    with pytest.raises(VoxFleetError, match=says):
        aac_format(data)
