"""Random bytes, cuts and flipped bits: each clip gets a verdict of a data class, and the lane lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.component.corpus.lane_rig import open_lane, verdicts

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_api.failures import RULES
from voxfleet_corpus.apple import caf, caf_chunk, comm, desc, form, ssnd
from voxfleet_corpus.case import CONTRACT
from voxfleet_corpus.sounds import Sounds
from voxfleet_corpus.wav import chunk, fmt, riff

CLIPS_IN_A_ROW = 8
LONGEST_SECONDS = 5.0


class LivingLane:
    """A lane in an event loop of its own, for tests that are not coroutines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.lane: ProcessLane = self._runner.run(self._stack.enter_async_context(open_lane(folder, CONTRACT)))
        self.pid = self.lane.pid

    def check_verdicts(self, contents: list[bytes]) -> None:
        paths = []
        for number, content in enumerate(contents):
            path = self._folder / f"clip-{number}"
            path.write_bytes(content)
            paths.append(path)
        found = self._runner.run(verdicts(self.lane, paths, 4))
        for verdict in found.values():
            if verdict.failure_class is None:
                assert verdict.text is not None
            else:
                assert RULES[verdict.failure_class].quarantines
                assert verdict.reason
                assert str(self._folder) not in verdict.reason
            assert verdict.decode_milliseconds <= LONGEST_SECONDS * 1000
        assert self.lane.pid == self.pid, "the lane's process ended"
        assert self.lane.readings().restarts == {}

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def living_lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingLane]:
    lane = LivingLane(tmp_path_factory.mktemp("damage"))
    yield lane
    lane.close()


def _valid() -> dict[str, bytes]:
    sounds = Sounds()
    return {
        "wav": riff(fmt(), chunk(b"data", sounds.pcm)),
        "mp3": sounds.mp3,
        "bare mp3": sounds.bare_mp3,
        "flac": sounds.flac,
        "m4a": sounds.m4a,
        "aiff": form(comm(len(sounds.samples)), ssnd(sounds.samples.astype(">i2").tobytes())),
        "caf": caf(desc(16_000.0), caf_chunk(b"data", bytes(4) + sounds.pcm)),
    }


VALID = _valid()
HEADER_BYTES = 1500


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file of a random container, perhaps cut short, with some of its bits flipped."""
    name = draw(st.sampled_from(sorted(VALID)))
    content = bytearray(VALID[name])
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    # Headers are where parsers break; an m4a has its own at the end.
    reach = draw(st.sampled_from((64, HEADER_BYTES, len(content))))
    ends = draw(st.booleans())
    for offset, bits in draw(st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), max_size=40)):
        if content:
            position = offset % min(reach, len(content))
            content[-1 - position if ends else position] ^= bits
    return bytes(content)


@st.composite
def invented(draw: st.DrawFn) -> bytes:
    """Random bytes, most of them after the first bytes of a container, so that a parser accepts them."""
    signatures = (
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"ID3\3\0\0\0\0\0\0",
        b"\xff\xf3\x84\xc4",
        b"fLaC\0\0\0\x22",
    )
    others = (b"\0\0\0\x14ftypM4A ", b"FORM\0\0\0\0AIFFCOMM", b"FORM\0\0\0\0AIFC", b"caff\0\1\0\0desc", b"OggS")
    return draw(st.sampled_from((*signatures, *others))) + draw(st.binary(max_size=2000))


@settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(damaged(), damaged(), invented()), min_size=CLIPS_IN_A_ROW, max_size=CLIPS_IN_A_ROW))
def test_random_damage_costs_one_clip_and_no_lane(living_lane: LivingLane, contents: list[bytes]) -> None:
    living_lane.check_verdicts(contents)
