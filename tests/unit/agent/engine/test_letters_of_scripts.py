"""How much speech a text may explain, in scripts whose characters are more or less than a letter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.unspoken_text import repeated, sparse, unspoken
from voxfleet_api.rows import TimedText


def said(text: str, seconds: float) -> tuple[Transcript, npt.NDArray[np.bool_]]:
    """The text, in one segment, and as much speech."""
    milliseconds = round(1000 * seconds)
    segment = TimedText(start_milliseconds=0, end_milliseconds=milliseconds, text=text)
    return Transcript(text, (segment,)), np.ones(milliseconds // FRAME_MILLISECONDS, np.bool_)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("今天天气很好我们去公园", 11 / 3.75, id="Chinese at its pace"),
        pytest.param("오늘 날씨가 좋네요", 2.2, id="Korean"),
        pytest.param("きょうはいい天気ですね", 3, id="Japanese"),
        pytest.param("मैं नहीं जानता कि क्या हुआ", 3.5, id="Hindi, whose vowels are marks"),
        pytest.param("it was late so we went home", 3, id="English"),
    ],
)
def test_a_text_at_the_pace_of_its_language_is_not_sparse(text: str, seconds: float) -> None:
    assert not sparse(*said(text, seconds))
    assert not unspoken(*said(text, seconds))


@pytest.mark.parametrize("text", ["謝謝", "Thank you.", "धन्यवाद", "...", "✓✓✓✓ ✓✓✓✓ ✓✓✓✓ ✓✓✓✓"])
def test_a_few_words_over_much_that_sounds_like_speech_are_sparse(text: str) -> None:
    assert sparse(*said(text, 6))


@pytest.mark.parametrize(
    ("text", "letters"),
    [("謝謝" * 30, 180), ("はい" * 60, 240), ("हाँ हाँ " * 40, 240), ("ha " * 90, 180), ("ｈａ　" * 90, 180)],
)
def test_a_phrase_over_and_over_is_told_only_beyond_25_letters_a_second(text: str, letters: int) -> None:
    assert not repeated(*said(text, letters / 25 + 0.1))
    assert repeated(*said(text, letters / 25 - 0.1))
