"""What mlx-audio itself makes of recordings, beside the agent, in an environment like a lane's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from voxfleet_agent.engine.upstream_messages import UPSTREAM_MODULE, UpstreamOrder, read_answer
from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_dev.mac import agent_environment


def upstream_texts(model: Path, clips: Sequence[Path]) -> list[str]:
    """The texts of mlx-audio's own `generate`, in the order of the clips, without the blanks around them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        order, answer = folder / "order.json", folder / "answer.jsonl"
        told = UpstreamOrder(model=str(model), clips={str(number): str(clip) for number, clip in enumerate(clips)})
        order.write_text(told.model_dump_json(by_alias=True))
        subprocess.run(
            [sys.executable, "-m", UPSTREAM_MODULE, str(order), str(answer)],
            env=child_environment({**os.environ, **agent_environment()}, folder),
            cwd=folder,
            check=True,
        )
        heard = read_answer(answer.read_text().splitlines()).clips
    assert [*heard] == [*told.clips] and all(clip.error is None for clip in heard.values()), heard
    return [(clip.text or "").strip() for clip in heard.values()]
