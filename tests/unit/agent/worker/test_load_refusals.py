"""What a lane answers when a model's code gave up: a missing package only where one is the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from voxfleet_agent.lane_protocol.messages import Load
from voxfleet_agent.worker.load_refusals import MESSAGE_CHARACTERS, load_refusal, missing_package
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec


def absent() -> None:
    raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")


def substitute_fails() -> None:
    try:
        absent()
    except ImportError:
        raise ValueError("the weights have the wrong shape") from None


def fails_while_handling() -> None:
    try:
        absent()
    except ImportError:
        dict[str, int]()["vocab_size"]


def told_as_the_cause() -> None:
    try:
        absent()
    except ImportError as error:
        raise RuntimeError("install it") from error


def told_in_other_words() -> None:
    try:
        absent()
    except ImportError:
        raise ImportError("this model requires torch")  # noqa: B904 # as mlx-audio's families do


def error_of(work: Callable[[], None]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 # the kind of error is what varies
        work()
    return raised.value


@pytest.mark.parametrize(
    ("work", "package"),
    [
        (absent, "torch"),
        (told_as_the_cause, "torch"),
        (told_in_other_words, "torch"),
        (substitute_fails, None),
        (fails_while_handling, None),
    ],
)
def test_a_missing_package_is_named_where_it_is_the_reason(work: Callable[[], None], package: str | None) -> None:
    assert missing_package(error_of(work)) == package


def test_the_answer_has_the_error_s_own_words_within_bounds() -> None:
    request = Load(
        folder=Path("/m"),
        digest=f"sha256:{'0' * 64}",
        task=Task.TRANSCRIBE,
        contract=VoiceContractSpec.load({"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}),
        transcription=Transcription(),
        memory_cap_bytes=2**30,
    )
    refusal = load_refusal(error_of(told_in_other_words), request)
    assert refusal.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert refusal.message == (
        "the model in /m needs the Python package torch, which is not installed; run: pip install torch"
        " (its code raised ImportError: this model requires torch)"
    )
    assert "cannot be loaded, its code raised KeyError: 'vocab_size'" in (
        load_refusal(error_of(fails_while_handling), request).message
    )
    for error in (ValueError("x" * 5000), ImportError("x" * 5000)):
        assert len(load_refusal(error, request).message) == MESSAGE_CHARACTERS
