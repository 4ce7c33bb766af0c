from __future__ import annotations

import subprocess
import sys

import pytest

from voxfleet_shared.crash_points import EXIT_CODE, VARIABLE

PROGRAM = """
from voxfleet_shared.crash_points import point
for i in range(5):
    point("other"); point("edge")
    print(i)
"""


@pytest.mark.parametrize(("wanted", "rounds"), [("edge", 0), ("edge@3", 2), ("edge@9", 5), ("elsewhere", 5), ("", 5)])
def test_the_process_ends_at_the_named_edge(wanted: str, rounds: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM], env={VARIABLE: wanted}, capture_output=True, text=True, check=False
    )
    assert len(ran.stdout.split()) == rounds
    assert ran.returncode == (0 if rounds == 5 else EXIT_CODE)
