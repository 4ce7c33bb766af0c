from __future__ import annotations

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_gateway.http_api.wav_header import wav_header

pytestmark = pytest.mark.unit


@given(st.integers(min_value=4000, max_value=384_000), st.integers(min_value=0, max_value=500))
def test_a_file_of_known_length_is_read_by_others(sample_rate_hz: int, samples: int) -> None:
    pcm = bytes(range(256)) * 4
    with wave.open(io.BytesIO(wav_header(sample_rate_hz, 2 * samples) + pcm[: 2 * samples])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (sample_rate_hz, 1, 2)
        assert file.readframes(file.getnframes()) == pcm[: 2 * samples]


def test_an_unknown_length_is_the_longest() -> None:
    header = wav_header(24_000, None)
    assert len(header) == 44 and header[4:8] == header[40:44] == b"\xff\xff\xff\xff"
