"""A clip's transcript does not depend on the clips beside it: the examples, and the odd but good files of the corpus.

The built-in model is of a family that batches; all other families go through the model one clip at a time.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.component.corpus.lane_rig import open_lane, verdicts

from make_clips import EXAMPLES
from voxfleet_corpus.case import CONTRACT, Verdict
from voxfleet_corpus.folder import write_corpus


async def test_batch_and_single_give_the_same_transcripts(tmp_path: Path) -> None:
    expected = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
    good = {row["id"]: row["text"] for row in expected if "text" in row}
    clips = [path for path in sorted(EXAMPLES.iterdir()) if path.stem in good]
    assert len(clips) == len(good)
    written, _ = write_corpus(tmp_path / "corpus")
    odd = [tmp_path / "corpus" / "input" / "clips" / one.name for one in written if one.verdict is Verdict.SUCCEEDED]
    clips += [path for path in odd if path.is_file()]
    assert len(clips) > len(good) + 50

    async with open_lane(tmp_path, CONTRACT) as lane:
        transcripts = {}
        for batch_size in (1, 4, 8):
            found = await verdicts(lane, clips, batch_size)
            transcripts[batch_size] = {
                str(clips[index]): (verdict.text, verdict.words) for index, verdict in found.items()
            }
            if batch_size > 1:
                # Else the test would compare single clips with single clips.
                assert any(verdict.batch_size > 1 for verdict in found.values())

    right = sum(transcripts[1][str(path)][0] == good.get(path.stem) for path in clips[: len(good)])
    assert right >= 0.95 * len(good)
    assert transcripts[4] == transcripts[1]
    assert transcripts[8] == transcripts[1]
