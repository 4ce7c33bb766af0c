"""What people read of a verification."""

from __future__ import annotations

from voxfleet_agent.local.bundle import Verification
from voxfleet_agent.local.comparison import Pair
from voxfleet_agent.local.tables import verification_tables
from voxfleet_api.results import ClipStatus, ResultRow


def test_a_verification_says_how_many_clips_ran_again_and_how_many_differ() -> None:
    row = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes")
    other = row.model_copy(update={"text": "no"})
    same = verification_tables(Verification((), (), (), (Pair(row, row),) * 10), show_text=False)
    assert same[-1] == "same: 0 files and 0 model files differ, 10 clips run again, 0 differ"
    different = verification_tables(Verification((), (), (), (Pair(row, other),)), show_text=False)
    assert different[-1] == "DIFFERENT: 0 files and 0 model files differ, 1 clip run again, 1 differs"
