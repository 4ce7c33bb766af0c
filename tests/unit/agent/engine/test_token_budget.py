"""How many tokens a model is granted, from how many on it counts as stopped, and what the reason says of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.speech_detection import audible_speech
from voxfleet_agent.engine.token_budget import TokenBudget
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.engine.transcripts import Transcript, budget_is_spent

WHISPER = TokenBudget(tokens=224, context=448)


@pytest.mark.parametrize(
    ("budget", "granted", "spent_from"),
    [
        pytest.param(WHISPER, (224, 444), (220, 444), id="Whisper's own"),
        pytest.param(TokenBudget(32, 448), (32, 128), (32, 128), id="less than Whisper's"),
        pytest.param(TokenBudget(4096, 448), (444, 444), (444, 444), id="more than Whisper has room for"),
        pytest.param(TokenBudget(300, 448), (300, 444), (300, 444), id="more than half of Whisper's context"),
        pytest.param(TokenBudget(200, None), (200, 800), (200, 800), id="a context that is not known"),
        pytest.param(TokenBudget(None, None), (None, None), (None, None), id="no budget"),
        pytest.param(TokenBudget(None, 448), (None, None), (None, None), id="a budget that is not known"),
    ],
)
def test_a_budget_and_the_enlarged_one(
    budget: TokenBudget, granted: tuple[int | None, int | None], spent_from: tuple[int | None, int | None]
) -> None:
    assert (budget.granted(False), budget.granted(True)) == granted
    assert (budget.spent_from(False), budget.spent_from(True)) == spent_from


def test_the_window_before_leaves_its_room_to_a_budget_beyond_half_of_a_context() -> None:
    assert [TokenBudget(tokens, 448).needs_all(enlarged=False) for tokens in (224, 225)] == [False, True]
    assert WHISPER.needs_all(enlarged=True)
    assert not TokenBudget(4096, None).needs_all(enlarged=False)


@pytest.mark.parametrize("prompt", [0, 1 + 223], ids=["first window", "behind another window"])
@pytest.mark.parametrize("start", [1, 2, 3, 4], ids="{} tokens before the text".format)
@pytest.mark.parametrize("enlarged", [False, True])
def test_a_window_that_runs_to_the_end_of_its_context_is_marked(enlarged: bool, start: int, prompt: int) -> None:
    """Whisper decodes until its budget is spent or its context of 448 tokens is full, which it passes by one."""
    granted, spent_from = WHISPER.granted(enlarged), WHISPER.spent_from(enlarged)
    assert granted is not None and spent_from is not None
    if enlarged:
        assert TRANSCRIPTION_FAMILIES["whisper"].enlarged_settings == {"condition_on_previous_text": False}
        prompt = 0
    written = min(granted, 448 + 1 - start - prompt)
    output = SimpleNamespace(segments=[{"tokens": [1] * written}])
    assert budget_is_spent(output, spent_from)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (WHISPER, "the model stopped at its token limit of 444, all that its context has room for"),
        (TokenBudget(32, 448), "the model stopped at its token limit of 128"),
        (TokenBudget(200, None), "the model stopped at its token limit of 800"),
    ],
)
def test_the_reason_tells_the_limit(budget: TokenBudget, said: str) -> None:
    transcript = Transcript("s s s").marked(True, budget.note(enlarged=True))
    assert shortfall(transcript, audible_speech(np.zeros(16_000, np.float32), 16_000), 90) == said
