"""A job whose parts are two rows long, so that a few clips make several parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.stages.stage_rig import Job

from voxfleet_agent.stages.process import part_uploader


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_uploader, "PART_ROWS", 2)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)
