"""The output of a verification."""

from __future__ import annotations

import io

from rich.console import Console

from voxfleet_agent.finished_runs.comparison import RowPair, compare
from voxfleet_agent.finished_runs.repro_check import ReproCheck
from voxfleet_agent.finished_runs.tables import (
    comparison_json,
    comparison_tables,
    pairs_json,
    pairs_table,
    verification_tables,
)
from voxfleet_api.rows import ClipStatus, ResultRow


def test_a_verification_says_how_many_clips_ran_again_and_how_many_differ() -> None:
    row = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes")
    other = row.model_copy(update={"text": "no"})
    same = verification_tables(ReproCheck((), (), (), (RowPair(row, row),) * 10), show_text=False)
    assert same[-1] == "same: 0 files and 0 model files differ, 10 clips run again, 0 differ"
    different = verification_tables(ReproCheck((), (), (), (RowPair(row, other),)), show_text=False)
    assert different[-1] == "DIFFERENT: 0 files and 0 model files differ, 1 clip run again, 1 differs"


def test_clips_are_named_by_id_beside_their_index() -> None:
    row = ResultRow(index=7, custom_id="call-0007", status=ClipStatus.SUCCEEDED, text="yes")
    other = row.model_copy(update={"text": "no"})
    compared, paired = compare([row], [other]), (RowPair(row, other),)
    shown = comparison_json(compared, show_text=False)["differences"]
    assert isinstance(shown, list)
    (difference,) = shown
    (pair,) = pairs_json(paired, show_text=False)
    assert (difference["index"], difference["id"]) == (pair["index"], pair["id"]) == (7, "call-0007")
    for table in (*comparison_tables(compared, show_text=False)[1:], pairs_table(paired, show_text=False)):
        printed = io.StringIO()
        Console(file=printed, width=200).print(table)
        assert "call-0007" in printed.getvalue()
