"""A lane with the built-in model; what its sessions hear is tested from outside, in agent/test_lane_sessions_heard."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import contract, transcribe_spec

from voxfleet_agent.lanes import warm_up_clip
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.models.resolved_model import ResolvedModel

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_contract_that_does_not_accept_the_models_rate_gets_a_warm_lane(
    tmp_path: Path, model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    made = warm_up_clip.voice_like_pcm

    def noted(rate_hz: int, milliseconds: int) -> bytes:
        threads.append(threading.current_thread())
        return made(rate_hz, milliseconds)

    monkeypatch.setattr(warm_up_clip, "voice_like_pcm", noted)
    lane = InteractiveLane("live-0", tmp_path / "live-0", memory_cap_bytes=3 * 2**30)
    try:
        await lane.load(model, transcribe_spec(contract(sample_rates_hz=(24_000,))))
        assert lane.warm
    finally:
        await lane.kill()
    assert threads and threading.main_thread() not in threads  # the loop serves other lanes meanwhile
