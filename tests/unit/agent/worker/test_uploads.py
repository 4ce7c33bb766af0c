"""An upload's file, its decoding, and how many of them a lane takes."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.header_facts import SCRATCH_PREFIX
from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import AudioTaken, EndSession, FileBytes, TextDelta, TurnDone
from voxfleet_agent.lanes.session_hangs import SessionTimeouts
from voxfleet_agent.worker import uploaded_file
from voxfleet_agent.worker.decode_thread import Mask, Samples
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_agent.worker.turn_hearing import TurnHearing
from voxfleet_agent.worker.upload_decoding import UploadDecoding, UploadedPiece, UploadEnd, most_decoding_seconds
from voxfleet_agent.worker.upload_room import MOST_UPLOADS, UploadRoom
from voxfleet_agent.worker.upload_session import LIFE_SECONDS, UploadSession
from voxfleet_agent.worker.uploaded_file import UploadedFile, in_folder, in_memory
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Completeness, UnspokenText
from voxfleet_api.rows import Attestation, TimedText
from voxfleet_api.session_protocol import MAX_CONTROL_BYTES

END_SECONDS = 30.0
RATE_HZ = 1_000
PIECES = 5


class Decoder:
    """Pieces of one second, until it raises what the test says, or is stopped."""

    attestation = Attestation(container="wav", encoding="pcm16", sample_rate_hz=RATE_HZ, channels=1, decoder="")
    warnings: tuple[RowWarning, ...] = ()

    def __init__(self, pieces: int = PIECES, error: BaseException | None = None) -> None:
        self.piece_starts_milliseconds: list[int] = []
        self.audio_milliseconds = 1_000 * pieces
        self.closed = False
        self._count = pieces
        self._error = error

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        try:
            for number in range(self._count):
                self.piece_starts_milliseconds.append(1_000 * number)
                yield np.full(RATE_HZ, number, np.float32)
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


class Rig:
    """A decoding thread, with what it calls."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.taken = 0
        self.most_ahead = 0
        self.opened = 0
        self.gone = threading.Event()
        self._changed = threading.Semaphore(0)
        self.decoding = UploadDecoding(lambda: decoder, self._open, silent, RATE_HZ, self._note_change, self.gone.set)

    def _open(self) -> None:
        self.opened += 1

    def _note_change(self) -> None:
        self.most_ahead = max(self.most_ahead, len(self.decoder.piece_starts_milliseconds) - self.taken)
        self._changed.release()

    def take(self) -> UploadedPiece | UploadEnd:
        assert self._changed.acquire(timeout=END_SECONDS) and self.decoding.ready
        self.taken += 1
        return self.decoding.take()


def nothing() -> None: ...


def silent(samples: Samples, rate_hz: int) -> Mask:
    return np.zeros(len(samples) * 100 // rate_hz, np.bool_)


def test_a_recording_is_decoded_no_further_ahead_than_two_pieces() -> None:
    rig = Rig(Decoder())
    pieces = [rig.take() for _ in range(PIECES)]
    end = rig.take()
    assert all(isinstance(piece, UploadedPiece) and piece.samples[0] == n for n, piece in enumerate(pieces))
    times = [(piece.start_milliseconds, piece.end_milliseconds) for piece in pieces if isinstance(piece, UploadedPiece)]
    assert times == [(1_000 * n, 1_000 * (n + 1)) for n in range(PIECES)]
    assert end == UploadEnd(1_000 * PIECES) and rig.most_ahead == 2 and rig.opened == PIECES
    assert rig.gone.wait(END_SECONDS)


def test_a_decoding_that_nobody_wants_any_more_ends_with_the_piece_that_it_decodes() -> None:
    rig = Rig(Decoder(pieces=1_000))
    rig.take()
    rig.decoding.close()
    assert rig.gone.wait(END_SECONDS) and rig.decoder.closed
    assert len(rig.decoder.piece_starts_milliseconds) <= 3 and not rig.decoding.ready


@pytest.mark.parametrize(
    ("pieces", "error", "expected"),
    [
        (0, None, FailureClass.DECODE_ERROR),
        (3, ValueError("no such chunk"), FailureClass.DECODE_ERROR),
        (3, MemoryError(), FailureClass.MEMORY_EXCEEDED),
        (3, VoxFleetError(FailureClass.CONTRACT_VIOLATION, "too long"), FailureClass.CONTRACT_VIOLATION),
        (3, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), FailureClass.SCRATCH_EXHAUSTED),
    ],
)
def test_the_end_of_a_recording_says_why_it_cannot_be_decoded(
    pieces: int, error: BaseException | None, expected: FailureClass
) -> None:
    rig = Rig(Decoder(pieces, error))
    # The last piece waits until the whole recording has been checked.
    for _ in range(max(0, pieces - 1)):
        assert isinstance(rig.take(), UploadedPiece)
    end = rig.take()
    assert isinstance(end, UploadEnd) and end.failure is not None and end.failure.failure_class is expected
    assert rig.gone.wait(END_SECONDS)


class Model:
    """Writes a word for each piece, whoever spoke it."""

    sample_rate_hz = RATE_HZ
    family = "fake"
    batches = False
    parameters = 0
    dtype = "float32"
    tells_progress = False
    word = ""

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        word = self.word or f"word {clips[0][0]:.0f}"
        return [Transcript(word, (TimedText(start_milliseconds=100, end_milliseconds=9_000, text=word),))]

    def warm_up(self) -> None: ...


def never_short(transcript: Transcript, speech: Mask, min_coverage_percent: int) -> str | None:
    return None


class Session:
    def __init__(
        self, folder: Path, decoder: Decoder, unspoken: UnspokenText = UnspokenText.WARN, max_bytes: int = 100
    ) -> None:
        self.file = in_folder(folder)
        self.sent: list[Message] = []
        self.now_ns = 0
        self.released = 0
        self.model = Model()
        judge = TranscriptJudge(never_short, silent, Completeness(unspoken_text=unspoken), RATE_HZ)
        self.rig: Rig | None = None

        def start_decoding(file: UploadedFile) -> UploadDecoding:
            self.rig = Rig(decoder)
            return self.rig.decoding

        self.session = UploadSession(
            1,
            TurnHearing(self.model, judge, silent, clear_cache=lambda: None),
            self.file,
            start_decoding,
            max_bytes=max_bytes,
            longest_piece_milliseconds=1_000,
            release=self._release,
            send=self.sent.append,
        )

    def _release(self) -> None:
        self.released += 1

    def run(self) -> None:
        """Raises VoxFleetError."""
        self.session.request(FileBytes(session=1, content=b"x" * 100))
        self.session.request(EndSession(session=1))
        while not self.session.ended:
            assert self.rig is not None and self.rig._changed.acquire(timeout=END_SECONDS)
            assert self.session.waiting_step() is not None
            self.session.run_step()


def test_each_piece_is_a_turn_with_times_of_the_file(tmp_path: Path) -> None:
    told = Session(tmp_path, Decoder(2))
    told.run()
    turns = [message for message in told.sent if isinstance(message, TurnDone)]
    assert [(turn.text, turn.start_milliseconds, turn.end_milliseconds) for turn in turns] == [
        ("word 0", 0, 1_000),
        ("word 1", 1_000, 2_000),
    ]
    assert [(part.start_milliseconds, part.end_milliseconds) for turn in turns for part in turn.segments or ()] == [
        (100, 1_000),
        (1_100, 2_000),
    ], "no time lies behind the end of its piece"
    assert [message.text for message in told.sent if isinstance(message, TextDelta)] == ["word 0", "word 1"]
    assert told.session.summary().audio_milliseconds == 2_000


def test_text_that_nobody_spoke_fails_the_recording_where_it_would_fail_a_clip(tmp_path: Path) -> None:
    told = Session(tmp_path, Decoder(2), UnspokenText.QUARANTINE)
    with pytest.raises(VoxFleetError) as failed:
        told.run()
    assert failed.value.failure_class is FailureClass.UNSPOKEN_TEXT
    assert "the clip" in failed.value.message, "both pieces together are the whole recording"


def test_a_piece_with_more_text_than_a_message_takes_ends_the_recording(tmp_path: Path) -> None:
    told = Session(tmp_path, Decoder(2))
    told.model.word = "w" * (MAX_CONTROL_BYTES // 2)
    with pytest.raises(VoxFleetError, match=r"declare conversions\.windows"):
        told.run()
    assert not [message for message in told.sent if isinstance(message, TextDelta)]


def test_a_file_that_is_too_long_and_one_that_is_cancelled_are_given_up(tmp_path: Path) -> None:
    told = Session(tmp_path, Decoder())
    told.session.request(FileBytes(session=1, content=b"x" * 100))
    with pytest.raises(VoxFleetError, match="longer than 100 bytes"):
        told.session.request(FileBytes(session=1, content=b"x"))
    told.session.close()
    told.session.close()
    assert told.released == 1 and not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="Bad file descriptor"):
        told.file.append(b"x")


@pytest.mark.parametrize(
    ("piece", "size_bytes", "seconds"),
    [(3_600_000, 10**8, 200), (3_600_000, 5_000, 21), (30_000, 10**8, 21.5)],
    ids=["an hour that is one piece", "a few bytes that announce an hour", "windows of an hour"],
)
def test_how_long_a_piece_may_be_decoded(piece: int, size_bytes: int, seconds: float) -> None:
    assert most_decoding_seconds(piece, size_bytes) == seconds


def test_a_decoding_without_an_end_ends_its_session(tmp_path: Path) -> None:
    told = Session(tmp_path, Decoder())
    assert told.session.due_ns() is None
    stuck = threading.Event()

    def open_decoder() -> Decoder:
        stuck.wait(END_SECONDS)
        return Decoder()

    decoding = UploadDecoding(open_decoder, nothing, silent, RATE_HZ, nothing, nothing)
    told.session._start_decoding = lambda _: decoding
    told.session.request(FileBytes(session=1, content=b"x" * 100))
    told.session.request(EndSession(session=1))
    told.sent.clear()
    ends_ns = decoding.since_ns + int(most_decoding_seconds(1_000, 100) * 1e9)
    life = 0
    while (due_ns := told.session.due_ns()) != ends_ns:
        assert due_ns is not None and due_ns - decoding.since_ns <= (life + 1) * LIFE_SECONDS * 10**9
        told.session.end_overdue_turn(due_ns - 1)
        assert len(told.sent) == life
        told.session.end_overdue_turn(due_ns)
        life += 1
        assert told.sent[-1] == AudioTaken(session=1, total_bytes=100), "the parent gives no child up that tells it"
    assert SessionTimeouts().answer_seconds >= LIFE_SECONDS * 2
    told.session.end_overdue_turn(ends_ns - 1)
    with pytest.raises(VoxFleetError, match="did not come to an end in 20 s") as failed:
        told.session.end_overdue_turn(ends_ns)
    assert failed.value.failure_class is FailureClass.DECODE_ERROR
    told.session.close()
    stuck.set()


@pytest.mark.parametrize("kind", ["in memory", "in a folder"])
def test_a_file_can_be_opened_as_often_as_a_decoder_likes_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    with closing(in_memory() if kind == "in memory" else in_folder(tmp_path)) as file:
        for part in (b"one ", b"two"):
            file.append(part)
        assert file.size_bytes == 7 and file.path.read_bytes() == file.path.read_bytes() == b"one two"
        assert all(path.name.startswith(SCRATCH_PREFIX) for path in tmp_path.iterdir()), "a child removes these"
        with file.path.open("rb") as decoder:
            file.opened()
            assert not list(tmp_path.iterdir()) and decoder.read() == b"one two"
            file.opened()
    file.close()


def test_only_linux_has_memory_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for platform, names in (("linux", 0), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", platform)
        with closing(uploaded_file.open_uploaded_file()):
            assert len(list(tmp_path.iterdir())) == names


def test_uploads_share_the_room_of_their_lane() -> None:
    room = UploadRoom(100)
    with pytest.raises(VoxFleetError, match="allow smaller ones") as refused:
        room.take(101)
    assert refused.value.failure_class is FailureClass.CONTRACT_VIOLATION
    room.take(60)
    with pytest.raises(VoxFleetError, match="wait for one to end") as refused:
        room.take(41)
    assert refused.value.failure_class is FailureClass.THROTTLED and refused.value.retry_after_seconds
    room.take(40)
    room.give_back(60)
    room.take(60)
    uncounted = UploadRoom(None)
    for _ in range(MOST_UPLOADS):
        uncounted.take(2**40)
    with pytest.raises(VoxFleetError, match=f"{MOST_UPLOADS} uploads"):
        uncounted.take(1)
