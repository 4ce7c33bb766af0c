"""Whisper tiny.en on people who speak: a fleet gives what mlx-audio itself gives.

`make soak` asks the same of a run without a cluster, of its verification and of its replay.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.fleet import Fleet
from tests.rig.real_model import conversation_clips, manifest_of
from tests.rig.upstream import upstream_texts

TIMEOUT_SECONDS = 300.0
WORDS = "i didn't know you were there"


def test_a_real_model_gives_the_texts_of_mlx_audio(fleet: Fleet, whisper_folder: Path) -> None:
    clips = conversation_clips(fleet.shared)
    expected = upstream_texts(whisper_folder, clips)
    assert WORDS in expected[0].lower()

    model = {"path": str(shutil.copytree(whisper_folder, fleet.shared / "whisper-tiny.en"))}
    source = manifest_of(clips, fleet.shared / "recordings.jsonl")
    one_shard = {"targetAudio": "10m"}  # so that one Mac alone loads the model
    fleet.submit("spoken", [], model=model, input=source, sharding=one_shard)
    job = fleet.wait_for_end("spoken", TIMEOUT_SECONDS)
    assert [row.text for row in fleet.rows(job)] == expected
