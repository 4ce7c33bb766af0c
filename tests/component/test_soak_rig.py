"""The soak's own tools: an agent and its lane die where they are told to, and the run is judged."""

from __future__ import annotations

from pathlib import Path

from tests.soak.agent_runs import CLIPS, clip_ids
from tests.soak.schedule import Kill, Moment, Place, Schedule, Victim
from tests.soak.session import Session

from voxfleet_api.kinds.audio_shard import Stage

KILLS = (
    Kill(Place(Stage.PLAN, Victim.AGENT, edge="plan-uploaded")),
    Kill(Place(Stage.PROCESS, Victim.LANE, moment=Moment.DECODE), count=2),
    Kill(Place(Stage.PROCESS, Victim.BOTH, moment=Moment.INFERENCE)),
    Kill(Place(Stage.PROCESS, Victim.AGENT, edge="run-uploaded")),
)


def test_every_kill_strikes_once_and_nothing_is_lost(tmp_path: Path) -> None:
    session = Session(Schedule(1, tuple(clip_ids()[:6]), 2, KILLS), CLIPS, tmp_path / "run")
    findings = session.run()
    assert sorted(session.struck, key=KILLS.index) == list(KILLS)
    assert findings.clean, findings
