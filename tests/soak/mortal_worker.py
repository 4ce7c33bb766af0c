"""The real worker, except that it kills itself, its agent, or both at ordered moments, as kill -9 would.

    python mortal_worker.py ORDER_FILE --lane-dir DIR

ORDER_FILE exists while there is an Order, and holds it as JSON. The worker that carries it out first renames it to
ORDER_FILE.done, so that each order is carried out once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.soak.schedule import Moment, Victim

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.worker import main
from voxfleet_agent.worker.backends import MemoryControl, WorkerBackends
from voxfleet_agent.worker.decode_thread import ClipDecoder
from voxfleet_agent.worker.transcribe import Transcriber
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation

Samples = npt.NDArray[np.float32]


class Order(BaseModel):
    number: int
    moment: Moment
    count: int
    """The order is carried out when one child reaches the moment for this many times."""
    victim: Victim

    def write(self, file: Path) -> None:
        part = file.with_suffix(".part")
        part.write_text(self.model_dump_json())
        part.rename(file)


def done_file(file: Path) -> Path:
    return file.with_suffix(".done")


class Fate:
    """Counts moments on any thread, and carries out the order."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = Lock()
        self._order_number = -1
        self._count = 0
        self._agent = os.getppid()

    def reached(self, moment: Moment) -> None:
        with self._lock:
            try:
                order = Order.model_validate_json(self._file.read_bytes())
            except FileNotFoundError:
                return
            if order.moment is not moment:
                return
            self._count = self._count + 1 if order.number == self._order_number else 1
            self._order_number = order.number
            if self._count == order.count:
                self._file.rename(done_file(self._file))
                self._kill(order.victim)

    def _kill(self, victim: Victim) -> None:
        if victim in (Victim.AGENT, Victim.BOTH) and os.getppid() == self._agent:  # else an orphan
            os.kill(self._agent, signal.SIGKILL)
        if victim in (Victim.LANE, Victim.BOTH):
            os.kill(os.getpid(), signal.SIGKILL)


class MortalClip:
    """An open clip. Its moment comes after each decoded piece."""

    def __init__(self, clip: ClipDecoder, fate: Fate) -> None:
        self._clip = clip
        self._fate = fate

    @property
    def piece_starts_milliseconds(self) -> list[int]:
        return self._clip.piece_starts_milliseconds

    @property
    def audio_milliseconds(self) -> int:
        return self._clip.audio_milliseconds

    @property
    def attestation(self) -> Attestation:
        return self._clip.attestation

    @property
    def warnings(self) -> tuple[RowWarning, ...]:
        return self._clip.warnings

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        for piece in self._clip.pieces(examine):
            self._fate.reached(Moment.DECODE)
            yield piece


class MortalModel:
    """Its moments: it is loaded and not yet announced; it has transcribed clips and not yet returned them."""

    def __init__(self, model: Transcriber, fate: Fate) -> None:
        self._model = model
        self._fate = fate
        self.sample_rate_hz, self.family = model.sample_rate_hz, model.family
        self.batches, self.parameters, self.dtype = model.batches, model.parameters, model.dtype
        self.tells_progress = model.tells_progress

    def warm_up(self) -> None:
        self._fate.reached(Moment.LOAD)
        self._model.warm_up()

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        transcripts = self._model.transcribe(clips, enlarged=enlarged, heard=heard)
        self._fate.reached(Moment.INFERENCE)
        return transcripts


class MortalMemory:
    def __init__(self, memory: MemoryControl, fate: Fate) -> None:
        self._fate = fate
        self.set_limits, self.clear_cache, self.cached_bytes = (
            memory.set_limits,
            memory.clear_cache,
            memory.cached_bytes,
        )
        self.footprint_bytes, self.reset_metal_peak = memory.footprint_bytes, memory.reset_metal_peak
        self.work_bytes = memory.work_bytes
        self._countal_peak_bytes = memory.metal_peak_bytes

    def metal_peak_bytes(self) -> int | None:
        """The worker calls it only for the readings that it sends at the end of a batch."""
        self._fate.reached(Moment.BETWEEN_BATCHES)
        return self._countal_peak_bytes()


def mortal(backends: WorkerBackends, fate: Fate) -> WorkerBackends:
    def open_decoder(path: Path, contract: VoiceContractSpec, rate_hz: int) -> ClipDecoder:
        return MortalClip(backends.open_decoder(path, contract, rate_hz), fate)

    def load_transcriber(folder: Path, transcription: Transcription, timestamps: Timestamps) -> Transcriber:
        return MortalModel(backends.load_transcriber(folder, transcription, timestamps), fate)

    return replace(
        backends,
        open_decoder=open_decoder,
        load_transcriber=load_transcriber,
        memory=MortalMemory(backends.memory, fate),
    )


if __name__ == "__main__":
    sys.exit(main.main(sys.argv[2:], lambda: mortal(main.default_backends(), Fate(Path(sys.argv[1])))))
