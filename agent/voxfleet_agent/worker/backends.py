"""The functions of audio and engine that the child works with, or a test's stand-ins.

Those that load MLX or a detector are called when a model is loaded or a session opened, and import it then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent.engine.mlx_limits import MlxLimits
from voxfleet_agent.worker.decode_thread import AudibleSpeech, OpenClipDecoder
from voxfleet_agent.worker.session_audio import OpenResampler, OpenVad, open_silero, open_soxr
from voxfleet_agent.worker.synthesize import Synthesizer, WriteAudio
from voxfleet_agent.worker.transcribe import Transcriber
from voxfleet_agent.worker.transcript_judge import Shortfall
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec


class MemoryControl(Protocol):
    """The part of engine.mlx_memory that is used here."""

    def set_limits(self, limits: MlxLimits) -> None: ...

    def cached_bytes(self) -> int: ...

    def clear_cache(self) -> None: ...

    def footprint_bytes(self) -> int: ...

    def work_bytes(self) -> int: ...

    def metal_peak_bytes(self) -> int | None: ...

    def reset_metal_peak(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerBackends:
    open_decoder: OpenClipDecoder
    working_set_bytes: Callable[[VoiceContractSpec], int]
    write_audio: WriteAudio
    load_transcriber: Callable[[Path, Transcription, Timestamps], Transcriber]
    load_synthesizer: Callable[[Path, Synthesis, npt.NDArray[np.float32] | None, int], Synthesizer]
    audible_speech: AudibleSpeech
    load_second_opinion: Callable[[], AudibleSpeech]
    """Loads the costly detector of speech, which is asked where the first one contradicts a text."""
    shortfall: Shortfall
    seed: Callable[[Task], int]
    """The seed of a model's random choices."""
    memory: MemoryControl
    open_resampler: OpenResampler = open_soxr
    open_vad: OpenVad = open_silero
