"""What mlx-audio itself makes of recordings, without any of our code, in an environment like a lane's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_dev.mac import agent_environment

# A lane computes in float32 on a CPU; mlx-audio gives Whisper float16, whatever its files hold.
_PROGRAM = """
import json, sys
from pathlib import Path
import mlx.core as mx
from mlx_audio.stt import load

model, settings = load(Path(sys.argv[1])), {}
if mx.default_device() == mx.Device(mx.cpu):
    model.set_dtype(mx.float32)
    model.dtype, settings = mx.float32, {"fp16": False}
Path(sys.argv[2]).write_text(json.dumps([model.generate(path, **settings).text for path in sys.argv[3:]]))
"""


def upstream_texts(model: Path, clips: Sequence[Path]) -> list[str]:
    """The texts of mlx-audio's own `generate`, in the order of the clips, without the blanks around them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answer = folder / "texts.json"
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(model), str(answer), *map(str, clips)],
            env=child_environment({**os.environ, **agent_environment()}, folder),
            cwd=folder,
            check=True,
        )
        texts: list[str] = json.loads(answer.read_text())
    return [text.strip() for text in texts]
