"""Every cell of attempts.md, asked of the code; and no state without a row."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.unit.operator.golden.attempt_sections import INTRODUCTION, REFUSALS, attempt_sections
from tests.unit.operator.golden.markdown_tables import FOLDER, REWRITE, read, rendered

import voxfleet_agent
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.reconcile.job_life import JobWish
from voxfleet_operator.reconcile.shard.decide import TABLE, ReportedState, ShardAction

FILE = FOLDER / "attempts.md"
GOLDEN = read(FILE)
DECIDED = {section.title: section for section in attempt_sections()}
ROWS = [pytest.param(title, name, id=f"{title}-{name}") for title, section in DECIDED.items() for name in section.rows]
WORKS = {ReportedState.ACCEPTED, ReportedState.RUNNING, ReportedState.FINISHING}


@pytest.mark.parametrize(("title", "name"), ROWS)
def test_every_cell_of_a_row(title: str, name: str) -> None:
    assert DECIDED[title].rows[name] == GOLDEN[title].rows.get(name), f"{FILE.name}, {title}, {name}; {REWRITE}"


def test_the_file_holds_every_state_and_nothing_else() -> None:
    assert FILE.read_text() == rendered(INTRODUCTION, attempt_sections()), REWRITE


def test_every_state_of_both_sides_has_a_row_and_every_action_a_cell() -> None:
    newest = [GOLDEN[f"The newest attempt, while the job wants {wish}"] for wish in JobWish]
    assert all(set(section.rows) == set(ReportedState) for section in newest)
    assert {action for section in newest for cells in section.rows.values() for action in cells.values()} == set(
        ShardAction
    )
    assert {how for _, how in TABLE} == set(ReportedState)
    assert set(AttemptState) <= set(GOLDEN["How a report is read"].rows)
    ended = GOLDEN["An attempt that has ended"].rows
    assert {name.split(",")[0] for name in ended} == set(AttemptOutcome) - {AttemptOutcome.ASSIGNED}
    wanted = {wish for cells in GOLDEN["What a job wants of its attempts"].rows.values() for wish in cells.values()}
    assert wanted == set(JobWish)


def test_every_status_by_which_an_agent_refuses_has_a_row() -> None:
    """Read off its source: wherever it makes a refusal, the status stands there as a number."""
    sources = (path.read_text() for path in Path(voxfleet_agent.__file__).parent.rglob("*.py"))
    calls = (node for source in sources if "Refus" in source for node in ast.walk(ast.parse(source)))
    found = {
        node.args[0].value
        for node in calls
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("Refusal", "RequestRefused.of")
        and isinstance(node.args[0], ast.Constant)
    }
    assert found == set(REFUSALS)
    assert {str(status) for status in REFUSALS} <= set(GOLDEN["What follows from a refused PUT"].rows)


def test_a_wait_ends_with_contact_or_with_the_lease_unless_the_mac_works() -> None:
    """The only waits without an end of their own are those for a Mac that is in contact and works."""
    for wish in JobWish:
        for how, cells in GOLDEN[f"The newest attempt, while the job wants {wish}"].rows.items():
            assert cells["in contact"] != ShardAction.WAIT or how in WORKS
            assert cells["lost"] != ShardAction.WAIT
            if wish is not JobWish.WORK:
                assert not {ShardAction.PUT, ShardAction.REPLACE} & set(cells.values())
