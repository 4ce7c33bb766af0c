"""A clip's transcript does not depend on the clips beside it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.component.corpus.lane_rig import open_lane, verdicts

from make_clips import EXAMPLES
from voxfleet_corpus.case import CONTRACT


async def test_batch_and_single_give_the_same_transcripts(tmp_path: Path) -> None:
    expected = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
    good = {row["id"]: row["text"] for row in expected if "text" in row}
    clips = [path for path in sorted(EXAMPLES.iterdir()) if path.stem in good]
    assert len(clips) == len(good)

    async with open_lane(tmp_path, CONTRACT) as lane:
        heard = {}
        for batch_size in (1, 4, 8):
            found = await verdicts(lane, clips, batch_size)
            heard[batch_size] = {clips[index].stem: verdict.text for index, verdict in found.items()}
            if batch_size > 1:
                # Otherwise one at a time is what was compared with one at a time.
                assert any(verdict.batch_size > 1 for verdict in found.values())

    right = sum(heard[1][name] == text for name, text in good.items())
    assert right >= 0.95 * len(good)
    assert heard[4] == heard[1]
    assert heard[8] == heard[1]
