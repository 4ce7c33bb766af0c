"""The real worker, lock, channel and ring, without MLX, with a model whose behaviour depends on the clip.

    python stand_in_worker.py '{"13": "abort"}' --lane-dir DIR

The model transcribes a clip of samples n/100 as "clip n". The first argument says what it does with clip n:

    raise | raise-memory | raise-metal:TEXT   an exception
    abort | abort:TEXT | segv | exit          the end of the process, with TEXT on stderr
    kill                                      SIGKILL, as from the system
    grow:MIB                                  takes memory and waits
    hang                                      waits for ever
    fork-hang                                 waits for ever, as does a process that holds its channel
    short | short-once                        a transcript cut by the token limit, always or on the first try
    read:PATH                                 the transcript says whether the file can be read
    once:PATH:BEHAVIOUR                       the behaviour, unless PATH exists; creates PATH
    crowd:BEHAVIOUR                           the behaviour when another clip is in the same batch
    leak:MIB                                  takes memory that it never releases
    cut                                       synthesized audio that ends at the token limit
    link:PATH                                 a link to PATH in place of the synthesized audio
    rest:BEHAVIOUR                            the behaviour after the batch, when its memory is measured
    long:MIB                                  a transcript of this size
    permission                                no permission to read a file
    tell:PATH                                 tells that half of the clip is heard, then waits for PATH
    tell-hang                                 tells that half of the clip is heard, then waits for ever
    tell-pause                                tells that half of the clip is heard, then waits for a request to pause

The key `load` says what it does as it is loaded.
"""

from __future__ import annotations

import errno
import faulthandler
import fcntl
import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.decode_memory import working_set_bytes
from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.engine.mlx_limits import MlxLimits
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.channel import LaneRequest
from voxfleet_agent.lane_protocol.session_messages import PauseBatches
from voxfleet_agent.process_memory import footprint_bytes
from voxfleet_agent.worker import main
from voxfleet_agent.worker.backends import WorkerBackends
from voxfleet_agent.worker.request_reader import RequestReader
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioOutput, Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.rows import Attestation, TimedText

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
RATE_HZ = 16_000
SEEDS = {Task.TRANSCRIBE: 11, Task.SYNTHESIZE: 12}
_kept: list[npt.NDArray[np.uint8]] = []
_link_to: str | None = None
_at_rest = ""
_pause_is_read = threading.Event()


class Memory:
    """Without MLX there is no memory to release."""

    def set_limits(self, limits: MlxLimits) -> None: ...

    def clear_cache(self) -> None: ...

    def cached_bytes(self) -> int:
        behave(_at_rest, crowd=False)
        return 0

    def footprint_bytes(self) -> int:
        return footprint_bytes()

    def work_bytes(self) -> int:
        return 0

    def metal_peak_bytes(self) -> int | None:
        return None

    def reset_metal_peak(self) -> None: ...


class Reader(RequestReader):
    """Tells the model that a request to pause waits for the end of its step."""

    def __init__(self, channel: BinaryIO, put: Callable[[LaneRequest], None]) -> None:
        def put_and_tell(request: LaneRequest) -> None:
            put(request)
            if isinstance(request, PauseBatches):
                _pause_is_read.set()

        super().__init__(channel, put_and_tell)


class Decoder:
    """Decodes a float32 wav file with a header of 44 bytes, in the contract's windows.

    A window of number -1 is damaged, on -2 the decoder waits for ever, on -3 it works for ever.
    """

    def __init__(self, path: Path, contract: VoiceContractSpec, rate_hz: int) -> None:
        self.attestation = Attestation(
            container="wav", encoding="float32", sample_rate_hz=RATE_HZ, channels=1, decoder=""
        )
        self.audio_milliseconds = 0
        self.piece_starts_milliseconds: list[int] = []
        self.warnings: tuple[RowWarning, ...] = ()
        self._samples = np.frombuffer(path.read_bytes()[44:], "<f4")
        windows = contract.conversions.windows
        self._frames = self._samples.shape[0]
        if windows is not None:
            self._frames = duration_milliseconds(windows.length) * RATE_HZ // 1000

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        for start in range(0, self._samples.shape[0], self._frames):
            samples = self._samples[start : start + self._frames]
            if samples[0] == np.float32(-0.02):
                threading.Event().wait()
            while samples[0] == np.float32(-0.03):
                samples.sum()
            if samples[0] < 0:
                raise VoxFleetError(FailureClass.DECODE_ERROR, "is damaged")
            self.piece_starts_milliseconds.append(start * 1000 // RATE_HZ)
            yield samples
        self.audio_milliseconds = self._samples.shape[0] * 1000 // RATE_HZ


class Written:
    def __init__(self, size_bytes: int, frames: int) -> None:
        self.size_bytes = size_bytes
        self.frames = frames


def write_audio(
    path: Path,
    chunks: Iterable[Samples],
    sample_rate_hz: int,
    output: AudioOutput,
    *,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> Written:
    samples = np.concatenate(list(chunks))
    with path.open("xb") as file:
        file.write(samples.tobytes())
    if _link_to is not None:
        path.unlink()
        path.symlink_to(_link_to)
    return Written(samples.nbytes, samples.shape[0])


class Model:
    sample_rate_hz = RATE_HZ
    family = "stand-in"
    batches = True
    parameters = 7
    dtype = "float32"

    def __init__(self, behaviours: dict[str, str], folder: Path) -> None:
        self.tells_progress = any(behaviour.startswith("tell") for behaviour in behaviours.values())
        self._behaviours = behaviours
        self._folder = folder

    def warm_up(self) -> None:
        with (self._folder / "loads").open("a") as loads:
            loads.write("x")
        behave(self._behaviours.get("load", ""), crowd=False)

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        numbers = [round(float(samples[0]) * 100) for samples in clips]
        transcripts = []
        for number, samples in zip(numbers, clips, strict=True):
            behaviour = self._behaviours.get(str(number), "")
            milliseconds = samples.shape[0] * 1000 // RATE_HZ
            if behaviour == "tell-pause":
                _work()
            if behaviour.startswith("tell") and heard is not None:
                heard(milliseconds // 2)
            text = behave(behaviour, crowd=len(clips) > 1) or f"clip {number}"
            cut = behaviour == "short" or (behaviour == "short-once" and not enlarged)
            segments = (TimedText(start_milliseconds=0, end_milliseconds=milliseconds, text=text),)
            transcripts.append(Transcript(text, segments, token_limit_reached=cut))
        return transcripts


class Voice:
    sample_rate_hz = 24_000
    family = "stand-in"
    parameters = 7
    dtype = "float32"
    interval_milliseconds = 80

    def __init__(self, behaviours: dict[str, str]) -> None:
        self._behaviours = behaviours

    def warm_up(self) -> None: ...

    def synthesize(self, text: str, *, enlarged: bool = False, synthesis: Synthesis | None = None) -> Iterator[Samples]:
        yield np.full(2400, 0.25, np.float32)
        behave(self._behaviours.get(text, ""), crowd=False)
        yield np.full(1200, -0.25, np.float32)
        yield np.zeros(0, np.float32)


def behave(behaviour: str, *, crowd: bool) -> str | None:
    """Returns the transcript instead of the clip's number, if there is one."""
    what, _, detail = behaviour.partition(":")
    if what == "once":
        marker, _, inner = detail.partition(":")
        if Path(marker).exists():
            return None
        Path(marker).touch()
        return behave(inner, crowd=crowd)
    if what == "crowd":
        return behave(detail, crowd=crowd) if crowd else None
    if what == "raise":
        raise ValueError("shapes (3,4) and (5,6) cannot be multiplied")
    if what == "raise-memory":
        raise RuntimeError("[malloc] Unable to allocate 99 bytes.")
    if what == "raise-metal":
        raise RuntimeError(detail)
    if what == "abort":
        print(detail, file=sys.stderr, flush=True)
        os.abort()
    if what == "segv":
        faulthandler._sigsegv()  # type: ignore[attr-defined] # typeshed leaves the faults out
    if what == "exit":
        os._exit(3)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "grow":
        _kept.append(np.ones(int(detail) * 2**20, np.uint8))
        threading.Event().wait()
    if what == "leak":
        _kept.append(np.ones(int(detail) * 2**20, np.uint8))
    if what == "fork-hang" and os.fork() == 0:
        _hold_channel()
    if what in ("hang", "fork-hang", "tell-hang"):
        threading.Event().wait()
    if what == "tell":
        while not Path(detail).exists():
            threading.Event().wait(0.01)
    if what == "tell-pause":
        _pause_is_read.wait()
        _work()
    if what == "long":
        return "x" * (int(detail) * 2**20)
    if what == "permission":
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if what == "cut":
        raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, "the model stopped at its token limit")
    if what == "link":
        global _link_to
        _link_to = detail
    if what == "rest":
        global _at_rest
        _at_rest = detail
    if what == "read":
        try:
            Path(detail).read_bytes()
        except PermissionError:
            return "denied"
        return "read"
    return None


def _work() -> None:
    """As long as a step takes, for one of less than a millisecond counts as none."""
    threading.Event().wait(0.01)


def _hold_channel() -> NoReturn:
    """Holds the pipes alone, and not the lane's lock, until the agent closes its end of them."""
    for number in range(3, 256):
        with suppress(OSError):
            if not stat.S_ISFIFO(os.fstat(number).st_mode):
                os.close(number)
            elif fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                os.read(number, 1)
    os._exit(0)


def audible_speech(samples: Samples, sample_rate_hz: int) -> Mask:
    return np.ones(samples.shape[0] * 50 // sample_rate_hz, np.bool_)


def shortfall(transcript: Transcript, speech: Mask, min_coverage_percent: int) -> str | None:
    return "the model stopped at its token limit" if transcript.token_limit_reached else None


def backends(behaviours: dict[str, str]) -> WorkerBackends:
    def load_transcriber(folder: Path, transcription: Transcription, timestamps: Timestamps) -> Model:
        return Model(behaviours, Path.cwd())

    def load_synthesizer(folder: Path, synthesis: Synthesis, reference: Samples | None, rate_hz: int) -> Voice:
        return Voice(behaviours)

    return WorkerBackends(
        open_decoder=Decoder,
        working_set_bytes=working_set_bytes,
        write_audio=write_audio,
        load_transcriber=load_transcriber,
        load_synthesizer=load_synthesizer,
        audible_speech=audible_speech,
        load_second_opinion=lambda: audible_speech,
        shortfall=shortfall,
        seed=lambda task: SEEDS[task],
        memory=Memory(),
    )


if __name__ == "__main__":
    vars(main)["RequestReader"] = Reader
    sys.exit(main.main(sys.argv[2:], lambda: backends(json.loads(sys.argv[1]))))
