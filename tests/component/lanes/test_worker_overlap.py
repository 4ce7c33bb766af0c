"""A model that takes one clip at a time never waits for the next one: it is decoded and checked meanwhile."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.component.lanes import stand_in_worker
from tests.component.lanes.lane_rig import contract, load_request, tone

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import BatchDone, BatchMessage, ClipMessage, Message, VerdictMessage
from voxfleet_agent.lanes.lane_types import LANE_BATCHES
from voxfleet_agent.mlx_audio_names import SAMPLE_RATE
from voxfleet_agent.worker.decode_thread import DecodeThreadFailed, Piece
from voxfleet_agent.worker.loop import Item, WorkerLoop

CLIPS = 2 * LANE_BATCHES
CLIP_MILLISECONDS = 1000
PATIENCE_SECONDS = 60


class Inbox(queue.SimpleQueue[Item]):
    """Says when a clip lies ready for the model."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: defaultdict[int, threading.Event] = defaultdict(threading.Event)

    def put(self, item: Item, block: bool = True, timeout: float | None = None) -> None:
        super().put(item)
        if isinstance(item, Piece):
            self.ready[item.job.clip.index].set()


class OneAtATime(stand_in_worker.Model):
    """Is done with a clip only once the next one lies ready."""

    batches = False

    def __init__(self, inbox: Inbox, folder: Path) -> None:
        super().__init__({}, folder)
        self._inbox = inbox
        self._next = 1

    def transcribe(
        self,
        clips: Sequence[npt.NDArray[np.float32]],
        *,
        enlarged: bool = False,
        heard: Callable[[int], None] | None = None,
    ) -> list[Transcript]:
        if self._next < CLIPS and not self._inbox.ready[self._next].wait(PATIENCE_SECONDS):
            raise RuntimeError(f"clip {self._next} was not decoded while the one before it was inferred")
        self._next += 1
        return super().transcribe(clips, enlarged=enlarged)


def test_the_next_clip_is_decoded_while_a_model_that_does_not_batch_infers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring has room for one clip, and the worker has as many batches of one as a lane gives it at a time."""
    monkeypatch.setenv(SAMPLE_RATE, "16000")  # the loop sets it for the whole process
    inbox, verdicts, underruns = Inbox(), list[VerdictMessage](), list[int]()
    waiting = iter(range(CLIPS))

    def put_next_batch() -> None:
        index = next(waiting, None)
        if index is not None:
            clip = ClipMessage(index=index, path=tone(tmp_path / f"{index}.wav", index + 1, CLIP_MILLISECONDS))
            inbox.put(BatchMessage(number=index + 1, clips=(clip,), batch_size=1))

    def send(message: Message) -> None:
        if isinstance(message, VerdictMessage):
            verdicts.append(message)
        if isinstance(message, BatchDone):
            underruns.append(message.readings.ring_underruns)
            put_next_batch()
            if len(underruns) == CLIPS:
                inbox.put(DecodeThreadFailed(EOFError()))  # ends the loop

    declared = contract(max_clip=f"{CLIP_MILLISECONDS}ms")
    backends = replace(stand_in_worker.backends({}), load_transcriber=lambda folder, *_: OneAtATime(inbox, tmp_path))
    loop = WorkerLoop(backends, inbox, send, lambda: None)
    inbox.put(load_request(tmp_path).model_copy(update={"contract": declared}))
    for _ in range(LANE_BATCHES):
        put_next_batch()
    with suppress(EOFError):
        loop.serve()
    assert [verdict.text for verdict in verdicts] == [f"clip {index + 1}" for index in range(CLIPS)]
    assert underruns[-1] == 0
