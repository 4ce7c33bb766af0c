"""Corrupt clips and a breaking network cost their own clips and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.faults.fault_run import run_faults

CLIPS = 2000


async def test_poison_and_faults_cost_no_sibling_a_retry(tmp_path: Path) -> None:
    run = await run_faults(tmp_path, clips=200)

    run.check(200)


@pytest.mark.soak
async def test_two_thousand_clips_with_faults_take_hardly_longer_than_without(tmp_path: Path) -> None:
    plain_seconds, seconds = [], []
    for number in range(2):  # in turns, so that a busy moment of the machine meets both
        plain = await run_faults(tmp_path / f"plain-{number}", CLIPS, corrupt_percent=0, fault_percent=0)
        run = await run_faults(tmp_path / f"faults-{number}", CLIPS, seed=number)
        run.check(CLIPS)
        plain_seconds.append(plain.process_seconds)
        seconds.append(run.process_seconds)

    assert min(seconds) < 1.05 * min(plain_seconds)
