"""What a real, tiny model that synthesizes says on its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tests.component.lanes.lane_rig import contract

from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_api.kinds.contract_output import AudioEncoding, AudioOutput, Clipping, ContractOutput
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription

RATE_HZ = 24_000
SYNTHESIS = Synthesis(voice="anna", streaming_interval="200ms")
LONG = "Good morning. Your parcel is ready at the counter, bring your card."
SHORT = "No."
FLOAT_WAV = AudioOutput(encoding=AudioEncoding.FLOAT32, sample_rate_hz=RATE_HZ, clipping=Clipping.LIMIT)
Samples = npt.NDArray[np.float32]

_MODEL_ALONE = """
import sys
from pathlib import Path
import numpy as np
from voxfleet_agent.engine.synthesizer import MlxSynthesizer
from voxfleet_api.kinds.job_task import Synthesis

model = MlxSynthesizer(Path(sys.argv[1]), Synthesis(voice="anna", streaming_interval="200ms"))
for number, text in enumerate(sys.argv[3:]):
    np.save(f"{sys.argv[2]}/{number}.npy", np.concatenate(list(model.synthesize(text))))
"""


def generated_alone(voice_folder: Path, folder: Path) -> dict[str, Samples]:
    """By text: the samples of the model itself, in an environment like a lane's, in which it rounds the same way."""
    command = [sys.executable, "-c", _MODEL_ALONE, str(voice_folder), str(folder), LONG, SHORT]
    subprocess.run(command, env=child_environment(os.environ, folder), cwd=folder, check=True)
    return {text: np.load(folder / f"{number}.npy") for number, text in enumerate((LONG, SHORT))}


def synthesize_spec(output: AudioOutput = FLOAT_WAV, max_clip: str = "30s") -> LaneSpec:
    spec = contract(min_clip="1ms", max_clip=max_clip)
    declared = spec.model_copy(update={"output": ContractOutput(audio=output)})
    return LaneSpec(Task.SYNTHESIZE, declared, Transcription(), SYNTHESIS)
