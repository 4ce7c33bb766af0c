"""Recordings that are uploaded to a real child: heard, cut and refused exactly as a batch's clips, beside others."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import END_SECONDS, Examples, contract, transcribe_spec
from tests.component.lanes.session_rig import Client, clip_samples, frames, opening, pcm_of

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import BatchDone, BatchMessage, ClipMessage, VerdictMessage
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    CancelSession,
    EndSession,
    FileBytes,
    HearAudio,
    OpenFile,
    SessionEnded,
    SessionMessage,
    SessionOpened,
    TurnDone,
)
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.worker.upload_room import MOST_UPLOADS
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Conversions, Downmix, Resample, Windows
from voxfleet_api.kinds.contract_output import ContractOutput, Timestamps
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_BYTES = 2**22
WINDOWS = contract(
    Conversions(resample=Resample(to_hz=16_000), downmix=Downmix(), windows=Windows(length="1s", seek="200ms")),
    max_clip="60s",
)


def timed(declared: VoiceContractSpec) -> VoiceContractSpec:
    return declared.model_copy(update={"output": ContractOutput(timestamps=Timestamps.SEGMENT)})


def upload(session: int, content: bytes, max_bytes: int = MOST_BYTES) -> Iterator[SessionMessage]:
    yield OpenFile(session=session, max_bytes=max_bytes)
    for start in range(0, len(content), 2**16):
        yield FileBytes(session=session, content=content[start : start + 2**16])
    yield EndSession(session=session)


@dataclass(frozen=True)
class Heard:
    """What a batch or a session made of a file."""

    failure: tuple[FailureClass, str] | None
    transcript: Transcript | None
    audio_milliseconds: int | None


def of_batch(verdict: VerdictMessage) -> Heard:
    if verdict.failure_class is not None:
        return Heard((verdict.failure_class, verdict.reason), None, None)
    transcript = Transcript(verdict.text or "", verdict.segments, None, verdict.language)
    return Heard(None, transcript, verdict.audio_milliseconds)


def of_session(client: Client, session: int) -> Heard:
    (ended,) = client.of(SessionEnded, session)
    if ended.failure_class is not None:
        return Heard((ended.failure_class, ended.reason), None, None)
    client.texts(session)
    turns = client.of(TurnDone, session)
    assert [turn.turn for turn in turns] == list(range(len(turns)))
    starts = [turn.start_milliseconds for turn in turns]
    assert starts == [0, *(turn.end_milliseconds for turn in turns[:-1])]
    segments = tuple(segment for turn in turns for segment in turn.segments or ())
    text = " ".join(turn.text for turn in turns if turn.text)
    language = next((turn.language for turn in turns if turn.language), None)
    return Heard(None, Transcript(text, segments, None, language), ended.audio_milliseconds)


@pytest.mark.parametrize(("declared", "most"), [(contract(), 12), (WINDOWS, 6)], ids=["whole", "windows"])
async def test_a_recording_gets_what_a_batch_gives_it(
    client: Client,
    model: ResolvedModel,
    example_clips: Examples,
    tmp_path: Path,
    declared: VoiceContractSpec,
    most: int,
) -> None:
    """Texts, times, lengths, and of what is refused the class and the reason; also of all bad clips."""
    empty, garbage = tmp_path / "empty.wav", tmp_path / "garbage.mp3"
    empty.write_bytes(b"")
    garbage.write_bytes(b"ID3" + bytes(range(256)) * 20)
    good = [path for path, _, failure_class in example_clips.values() if failure_class is None]
    bad = [path for path, _, failure_class in example_clips.values() if failure_class is not None]
    paths = [*good[:most], *bad, empty, garbage]
    await client.load(model, transcribe_spec(timed(declared)))
    client.heard.clear()
    client.send(
        BatchMessage(
            number=1, clips=tuple(ClipMessage(index=i, path=path) for i, path in enumerate(paths)), batch_size=1
        )
    )
    await client.until(BatchDone)
    verdicts = {message.index: message for message in client.heard if isinstance(message, VerdictMessage)}
    pieces = 0
    for index, path in enumerate(paths):
        session = client.number()
        client.send(*upload(session, path.read_bytes()))
        await client.until(SessionEnded, session)
        assert of_session(client, session) == of_batch(verdicts[index]), path.name
        pieces = max(pieces, len(client.of(TurnDone, session)))
    assert (pieces > 1) == (declared is WINDOWS)
    assert await asyncio.to_thread(no_file_is_left, client)


async def test_others_are_heard_between_the_pieces_of_a_long_recording(
    client: Client, model: ResolvedModel, example_clips: Examples
) -> None:
    path, text, _ = next(clip for name, clip in example_clips.items() if "wav-16000" in name and clip[1])
    assert text is not None
    pcm = pcm_of(clip_samples(path)[0])
    await client.load(model, transcribe_spec(WINDOWS))
    long, neighbour = client.number(), client.number()
    client.send(*upload(long, wav(pcm * (15 * 32_000 // len(pcm)))))
    client.send(opening(neighbour), *frames(neighbour, pcm, 1000), EndSession(session=neighbour))
    await client.until(SessionEnded, long)
    order = [message.session for message in client.heard if isinstance(message, TurnDone)]
    assert " ".join(client.texts(neighbour)) == text
    last = len(order) - 1 - order[::-1].index(long)
    assert order.index(neighbour) < last
    (opened,) = client.of(SessionOpened, long)
    totals = [message.total_bytes for message in client.of(AudioTaken, long)]
    assert opened.window_bytes >= 2**18 and totals[-1] == len(wav(pcm * (15 * 32_000 // len(pcm))))


async def test_what_is_no_file_or_too_much_of_one_ends_its_session_alone(
    client: Client, model: ResolvedModel, example_clips: Examples
) -> None:
    path, text, _ = next(clip for clip in example_clips.values() if clip[1])
    content = path.read_bytes()
    await client.load(model, transcribe_spec())
    good, long, frame, cancelled, spoken = (client.number() for _ in range(5))
    client.send(OpenFile(session=good, max_bytes=MOST_BYTES))
    client.send(*upload(long, content, len(content) - 1))
    client.send(OpenFile(session=frame, max_bytes=MOST_BYTES), HearAudio(session=frame, pcm=b"\0\0"))
    client.send(OpenFile(session=spoken, max_bytes=MOST_BYTES, language="de"))
    client.send(OpenFile(session=cancelled, max_bytes=MOST_BYTES), FileBytes(session=cancelled, content=content))
    client.send(CancelSession(session=cancelled))
    for session, said in ((long, str(len(content) - 1)), (frame, "HearAudio"), (spoken, "de;")):
        ended = await client.until(SessionEnded, session)
        assert ended.failure_class is FailureClass.INVALID_INPUT and said in ended.reason
    assert (await client.until(SessionEnded, cancelled)).failure_class is None
    client.send(FileBytes(session=good, content=content), EndSession(session=good))
    await client.until(SessionEnded, good)
    assert client.texts(good) == [text]
    assert await asyncio.to_thread(no_file_is_left, client)


async def test_a_lane_takes_a_few_uploads_and_again_when_they_have_ended(client: Client, model: ResolvedModel) -> None:
    await client.load(model, transcribe_spec())
    many = [client.number() for _ in range(MOST_UPLOADS)]
    beyond, again = client.number(), client.number()
    client.send(*(OpenFile(session=session, max_bytes=MOST_BYTES) for session in (*many, beyond)))
    assert (await client.until(SessionEnded, beyond)).failure_class is FailureClass.THROTTLED
    client.send(*(CancelSession(session=session) for session in many))
    client.send(OpenFile(session=again, max_bytes=MOST_BYTES))
    await client.until(SessionOpened, again)
    client.send(CancelSession(session=again))
    await client.until(SessionEnded, again)


def no_file_is_left(client: Client) -> bool:
    """Waits: a decoding thread ends soon after the session for which it decoded."""
    folder, until_seconds = Path(f"/proc/{client.child.pid}/fd"), time.monotonic() + END_SECONDS
    while any("memfd:upload" in str(link.readlink()) for link in folder.iterdir()):
        if time.monotonic() > until_seconds:
            return False
        time.sleep(0.01)
    return True


def wav(pcm: bytes) -> bytes:
    head = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    return b"".join(
        (b"RIFF", struct.pack("<I", 36 + len(pcm)), b"WAVEfmt ", struct.pack("<I", 16), head, b"data",
         struct.pack("<I", len(pcm)), pcm)
    )  # fmt: skip
