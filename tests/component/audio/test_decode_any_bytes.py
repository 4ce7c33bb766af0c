"""Any bytes give samples within bounds or a VoxFleetError, soon and in little memory."""

from __future__ import annotations

import functools
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.component.audio.audio_rig import contract, noise, save, write
from tests.unit.agent.audio.audio_bytes import FLOAT, aiff, caf, caf_of_aac, wav

from voxfleet_agent.audio.decode import open_decoder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Windows

CLASSES = {FailureClass.UNSUPPORTED_CONTAINER, FailureClass.DECODE_ERROR, FailureClass.CONTRACT_VIOLATION}
STARTS = (
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    b"fLaC\x80\x00\x00\x22",
    b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42",
    b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00",
    b"\xff\xfb\x90\x00",
    b"FORM\x00\x00\x10\x00AIFCCOMM\x00\x00\x00\x16",
    b"caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20",
)
KINDS = ("wav", "float.wav", "flac", "mp3", "m4a", "aiff", "caf", "aac.caf")
RATE_HZ = 16_000
MAX_GROWTH_BYTES = 400 * 2**20


@functools.cache
def valid(kind: str) -> bytes:
    """Half a second of audio."""
    samples = noise(RATE_HZ // 2, 2)
    whole = np.rint(samples * 32768).astype(np.int16)
    if kind == "wav":
        return wav(channels=2, audio=whole.astype("<i2").tobytes())
    if kind == "float.wav":
        return wav(FLOAT, 32, channels=2, audio=samples.tobytes())
    if kind == "aiff":
        return aiff(b"twos", channels=2, frames=len(whole), audio=whole.astype(">i2").tobytes())
    if kind == "caf":
        return caf(channels=2, audio=whole.astype("<i2").tobytes())
    with tempfile.TemporaryDirectory() as folder:
        if kind == "aac.caf":
            return caf_of_aac(save(Path(folder) / "x.m4a", samples, RATE_HZ).read_bytes(), float(RATE_HZ), 2)
        return save(Path(folder) / f"x.{kind}", samples, RATE_HZ, "pcm16" if kind == "flac" else "auto").read_bytes()


def check(folder: Path, content: bytes, *, intact: bool = False) -> None:
    path = write(folder / "x", content)
    spec = contract(max_clip="1m", windows=Windows(length="200ms", seek="50ms"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error: VoxFleetError | None = None
    try:
        for piece in open_decoder(path, spec, RATE_HZ).pieces():
            assert piece.ndim == 1
            assert piece.dtype == np.float32
            assert np.isfinite(piece).all()
    except VoxFleetError as caught:
        error = caught
    if error is not None:
        assert not intact, error
        assert error.failure_class in CLASSES
        assert 0 < len(error.message) <= 256
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH_BYTES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@pytest.mark.parametrize("kind", KINDS)
def test_the_intact_file_is_decoded(folder: Path, kind: str) -> None:
    check(folder, valid(kind), intact=True)


@settings(max_examples=150)
@given(start=st.sampled_from((b"", *STARTS)), rest=st.binary(max_size=4_000))
def test_random_bytes(folder: Path, start: bytes, rest: bytes) -> None:
    check(folder, start + rest)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(keep=st.integers(0, 999))
def test_truncations(folder: Path, kind: str, keep: int) -> None:
    content = valid(kind)
    check(folder, content[: len(content) * keep // 1000])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=30))
@example(flips=[(0.0, 0)])
def test_bit_flips(folder: Path, kind: str, flips: list[tuple[float, int]]) -> None:
    content = bytearray(valid(kind))
    for position, bit in flips:
        content[int(position * len(content))] ^= 1 << bit
    check(folder, bytes(content))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 250) | st.integers(-1_500, -1),
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_headers_that_lie(folder: Path, kind: str, edits: list[tuple[int, int]]) -> None:
    """An m4a's header is at its end."""
    content = bytearray(valid(kind))
    for position, value in edits:
        content[position % len(content)] = value
    check(folder, bytes(content))
