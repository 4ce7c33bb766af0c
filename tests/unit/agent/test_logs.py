"""Where the agent logs, and that its logs stay bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
_BOUND = """
import sys
from pathlib import Path
from voxfleet_agent import logs
logs.bound_standard_error(Path(sys.argv[1]))
"""


def test_a_log_file_is_rotated_and_keeps_the_newest_lines(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _MANY, tmp_path / "agent.log"], check=True)
    files = sorted(tmp_path.iterdir())
    assert len(files) == logs.ROTATED_FILES and all(0 < file.stat().st_size <= 2000 for file in files)
    assert '"number": 999' in (tmp_path / "agent.log").read_text()


@pytest.mark.parametrize(
    ("name", "size_bytes", "left_bytes"),
    [
        ("agent-stderr.log", logs.STANDARD_ERROR_BYTES, logs.STANDARD_ERROR_BYTES),
        ("agent-stderr.log", 2**21, 0),
        ("notes.txt", 2**21, 2**21),
    ],
)
def test_only_a_services_grown_file_of_standard_error_is_emptied(
    name: str, size_bytes: int, left_bytes: int, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(b"x" * size_bytes)
    with file.open("ab") as appending:
        subprocess.run([sys.executable, "-c", _BOUND, tmp_path / "agent.log"], check=True, stderr=appending)
    assert file.stat().st_size == left_bytes
