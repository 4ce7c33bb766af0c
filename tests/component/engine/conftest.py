"""The good example clips as samples, and tiny models of several families."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt
import pytest

from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_models.families import make_model

Samples = npt.NDArray[np.float32]
CLIPS = Path(__file__).parents[3] / "examples" / "clips"
RATE_HZ = 16_000


def samples_of(path: Path, rate_hz: int = RATE_HZ) -> Samples:
    """The samples of a file, (N,) float32, one channel."""
    audio, stored_hz = mlx_audio_io.load(str(path), mono=True)
    audio = mx.reshape(audio, (-1, 1))
    if stored_hz != rate_hz:
        audio = mlx_audio_io.resample(audio, stored_hz, rate_hz, quality="soxr_vhq")
    return np.array(mx.reshape(audio, (-1,)), dtype=np.float32)


@pytest.fixture(scope="session")
def examples() -> dict[str, tuple[Samples, str]]:
    """(samples at RATE_HZ, the words in them) by clip id."""
    expected = {row["id"]: row for row in map(json.loads, (CLIPS / "expected.jsonl").read_text().splitlines())}
    manifest = map(json.loads, (CLIPS / "manifest.jsonl").read_text().splitlines())
    return {
        row["id"]: (samples_of(CLIPS / row["uri"]), expected[row["id"]]["text"])
        for row in manifest
        if "text" in expected[row["id"]]
    }


@pytest.fixture(scope="session")
def default_model() -> MlxTranscriber:
    model = MlxTranscriber(builtin_model_folder(BuiltinName.COMMANDS), Transcription(), Timestamps.WORD)
    model.warm_up()
    return model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a family's tiny model, which is made once."""
    base = tmp_path_factory.mktemp("tiny-models")

    def folder(family: str) -> Path:
        made = base / family
        return made if made.exists() else make_model(family, made)

    return folder
