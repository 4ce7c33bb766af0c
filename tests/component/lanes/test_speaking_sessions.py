"""Sessions that speak, in a real child with a real, tiny model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from tests.component.lanes.session_rig import Client, start_child
from tests.component.lanes.voice_rig import LONG, SHORT, Samples, synthesize_spec

from voxfleet_agent.audio.pcm import pcm16
from voxfleet_agent.lane_protocol.session_messages import (
    CancelSession,
    CommitTurn,
    GrantRoom,
    OpenHearing,
    OpenSpeaking,
    SessionEnded,
    SessionOpened,
    SpokenAudio,
)
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS, Synthesis, VoiceReference

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOM = 10 * 24_000


@pytest.fixture(scope="module")
def alone(generated: dict[str, Samples]) -> dict[str, npt.NDArray[np.int16]]:
    """By text: what the model speaks when nobody else does."""
    return {text: np.frombuffer(pcm16(samples), "<i2") for text, samples in generated.items()}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, voice_folder: Path) -> AsyncIterator[Client]:
    child = await start_child(tmp_path_factory.mktemp("lane"))
    client = Client(child)
    await client.load(ResolvedModel(voice_folder, "sha256:" + "7" * 64), synthesize_spec())
    yield client
    await child.end()


async def test_two_speeches_at_once_sound_as_each_alone(
    client: Client, alone: dict[str, npt.NDArray[np.int16]]
) -> None:
    """A chunk of the one and then a chunk of the other, of a model that keeps a stream's state in itself."""
    numbers = {client.number(): text for text in (LONG, SHORT, LONG)}
    client.send(*(OpenSpeaking(session=number, text=text, room_samples=ROOM) for number, text in numbers.items()))
    for number, text in numbers.items():
        assert (await client.until(SessionEnded, number)).failure_class is None
        assert (await client.until(SessionOpened, number)).sample_rate_hz == 24_000
        np.testing.assert_array_equal(client.spoken(number), alone[text])
    order = [message.session for message in client.heard if isinstance(message, SpokenAudio)]
    assert len(set(order[:4])) > 1, "the second is begun before the first is continued to its end"


async def test_a_listener_without_room_pauses_its_speech_and_no_other(
    client: Client, alone: dict[str, npt.NDArray[np.int16]]
) -> None:
    slow, other = client.number(), client.number()
    client.send(OpenSpeaking(session=slow, text=LONG, room_samples=1_000))
    client.send(OpenSpeaking(session=other, text=SHORT, room_samples=ROOM))
    await client.until(SessionEnded, other)
    assert len(client.spoken(slow)) == 1_000
    client.send(GrantRoom(session=slow, samples=500))
    assert len((await client.until(SpokenAudio, slow, count=2)).pcm) == 2 * 500
    client.send(GrantRoom(session=slow, samples=ROOM))
    await client.until(SessionEnded, slow)
    np.testing.assert_array_equal(client.spoken(slow), alone[LONG])


async def test_a_cancelled_speech_ends_within_a_step_and_the_next_one_is_whole(
    client: Client, alone: dict[str, npt.NDArray[np.int16]]
) -> None:
    number, after = client.number(), client.number()
    client.send(OpenSpeaking(session=number, text=LONG, room_samples=1))
    await client.until(SpokenAudio, number)
    client.send(CancelSession(session=number), GrantRoom(session=number, samples=ROOM))
    client.send(OpenSpeaking(session=after, text=LONG, room_samples=ROOM))
    assert (await client.until(SessionEnded, number)).failure_class is None
    await client.until(SessionEnded, after)
    assert len(client.spoken(number)) == 1
    np.testing.assert_array_equal(client.spoken(after), alone[LONG])


@pytest.mark.parametrize(
    ("text", "synthesis", "failure_class", "named"),
    [
        (" ", None, FailureClass.CONTRACT_VIOLATION, "0 characters"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), None, FailureClass.CONTRACT_VIOLATION, "5001 characters"),
        (SHORT, Synthesis(voice="nobody"), FailureClass.INVALID_INPUT, "synthesis.voice"),
        (SHORT, Synthesis(voice="anna", speed_percent=120), FailureClass.INVALID_INPUT, "synthesis.speedPercent"),
        (SHORT, Synthesis(voice="anna", language="en"), FailureClass.INVALID_INPUT, "synthesis.language"),
        (
            SHORT,
            Synthesis.model_validate(
                {"mode": "CustomVoice", "reference": VoiceReference(uri="file:///etc/passwd", text="x")}
            ),
            FailureClass.INVALID_INPUT,
            "synthesis.reference",
        ),
    ],
)
async def test_settings_that_the_model_does_not_have_end_that_session_alone(
    client: Client, text: str, synthesis: Synthesis | None, failure_class: FailureClass, named: str
) -> None:
    number, good = client.number(), client.number()
    client.send(OpenSpeaking(session=number, text=text, synthesis=synthesis, room_samples=ROOM))
    client.send(OpenSpeaking(session=good, text=SHORT, room_samples=ROOM))
    ended = await client.until(SessionEnded, number)
    assert ended.failure_class is failure_class and named in ended.reason
    assert (await client.until(SessionEnded, good)).failure_class is None


async def test_what_only_listeners_do_ends_that_session_alone(client: Client) -> None:
    speaking, hearing = client.number(), client.number()
    client.send(OpenSpeaking(session=speaking, text=LONG, room_samples=0), CommitTurn(session=speaking))
    client.send(
        OpenHearing(session=hearing, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=20_000)
    )
    assert (await client.until(SessionEnded, speaking)).failure_class is FailureClass.INVALID_INPUT
    assert (await client.until(SessionEnded, hearing)).failure_class is FailureClass.MODEL_UNAVAILABLE
