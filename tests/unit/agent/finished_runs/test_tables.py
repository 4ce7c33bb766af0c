"""The output of a verification."""

from __future__ import annotations

from voxfleet_agent.finished_runs.comparison import RowPair
from voxfleet_agent.finished_runs.repro_check import ReproCheck
from voxfleet_agent.finished_runs.tables import verification_tables
from voxfleet_api.results import ClipStatus, ResultRow


def test_a_verification_says_how_many_clips_ran_again_and_how_many_differ() -> None:
    row = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes")
    other = row.model_copy(update={"text": "no"})
    same = verification_tables(ReproCheck((), (), (), (RowPair(row, row),) * 10), show_text=False)
    assert same[-1] == "same: 0 files and 0 model files differ, 10 clips run again, 0 differ"
    different = verification_tables(ReproCheck((), (), (), (RowPair(row, other),)), show_text=False)
    assert different[-1] == "DIFFERENT: 0 files and 0 model files differ, 1 clip run again, 1 differs"
