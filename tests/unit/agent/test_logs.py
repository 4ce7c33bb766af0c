"""Where the agent logs, and that its logs stay bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from voxfleet_agent import logs

_MANY = """
import logging, sys
from pathlib import Path
from voxfleet_agent import logs
logs.ROTATED_FILE_BYTES = 2000
logs.configure(file=Path(sys.argv[1]))
for number in range(1000):
    logs.logger("test").info("line", number=number)
"""
_BOUND = "from voxfleet_agent import logs; logs.bound_standard_error()"


def test_a_log_file_is_rotated_and_keeps_the_newest_lines(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _MANY, tmp_path / "agent.log"], check=True)
    files = sorted(tmp_path.iterdir())
    assert len(files) == logs.ROTATED_FILES and all(0 < file.stat().st_size <= 2000 for file in files)
    assert '"number": 999' in (tmp_path / "agent.log").read_text()


def test_a_grown_file_of_standard_error_is_emptied_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "agent-stderr.log"
    for size_bytes, left_bytes in ((logs.STANDARD_ERROR_BYTES, logs.STANDARD_ERROR_BYTES), (2**21, 0)):
        file.write_bytes(b"x" * size_bytes)
        with file.open("ab") as appending:
            subprocess.run([sys.executable, "-c", _BOUND], check=True, stderr=appending)
        assert file.stat().st_size == left_bytes
