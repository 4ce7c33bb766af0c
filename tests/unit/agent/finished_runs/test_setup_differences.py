"""The settings of two runs, compared field by field."""

from __future__ import annotations

from tests.unit.agent.standalone.test_rerun_clips import BUNDLE, CONTRACT, SETTING

from voxfleet_agent.finished_runs.comparison import compare, setup_differences
from voxfleet_api.kinds.job_model import HubModel, ModelSource
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.rows import ClipStatus, ResultRow

OURS = SETTING.model_copy(update={"environment": {"TMPDIR": "/a", "MLX_AUDIO_BATCH_SIZE": "4"}})


def test_equal_runs_differ_in_nothing_wherever_they_kept_their_files() -> None:
    a = BUNDLE.model_copy(update={"settings": (OURS,)})
    moved = OURS.model_copy(update={"environment": OURS.environment | {"TMPDIR": "/b"}, "scratch_path": "/elsewhere"})
    assert setup_differences(a, a.model_copy(update={"settings": (moved, OURS)})) == {}


def test_each_field_that_differs_is_named_with_both_values() -> None:
    contract = CONTRACT.model_copy(
        update={"input": CONTRACT.input.model_copy(update={"max_clip": "31s", "channels": (1, 2)})}
    )
    hub = ModelSource(hub=HubModel(id="somebody/model", revision="main"))
    theirs = OURS.model_copy(
        update={"environment": {"MLX_AUDIO_BATCH_SIZE": "2"}, "os": "Darwin 27.0", "dtype": "float32"}
    )
    a = BUNDLE.model_copy(update={"settings": (OURS,)})
    b = a.model_copy(
        update={
            "contract": contract,
            "transcription": Transcription(language="en"),
            "model": hub,
            "settings": (OURS, theirs),
        }
    )
    assert setup_differences(a, b) == {
        "contract.input.channels": ("[1]", "[1, 2]"),
        "contract.input.maxClip": (CONTRACT.input.max_clip, "31s"),
        "transcription.language": (None, "en"),
        "model.hub.id": (None, "somebody/model"),
        "model.hub.revision": (None, "main"),
        "MLX_AUDIO_BATCH_SIZE": ("4", "2, 4"),
        "dtype": ("float16", "float16, float32"),
        "os": ("Darwin 26.0", "Darwin 26.0, Darwin 27.0"),
    }


def test_rows_of_another_type_of_number_are_told_apart() -> None:
    row = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes", dtype="float16")
    assert compare([row], [row.model_copy(update={"dtype": "float32"})]).machines == {
        "dtype": (("float16",), ("float32",))
    }
    assert compare([row], [row]).machines == {}
