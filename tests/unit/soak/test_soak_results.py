"""A run that was done is not done again, unless the code has changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.soak.findings import Findings
from tests.soak.results import Outcome, PartResults, code_digest


def outcome(seed: int, lost: int = 0) -> Outcome:
    return Outcome(
        seed=seed, seconds=1.0, struck=["a after 1 s"], not_met=["b"], places=["a"], findings=Findings(lost=lost)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".soak" / "results.json"


def part(file: Path, name: str = "fleet", code: str = "1", *, again: bool = False) -> PartResults:
    return PartResults(file, name, code, ["a", "b"], again=again)


def test_the_next_call_finds_what_was_done_and_the_sums(file: Path) -> None:
    results = part(file)
    results.add(outcome(2, lost=1))
    results.add(outcome(1))
    found = part(file)
    assert [(entry["seed"], entry["clean"]) for entry in found.done([1, 2, 3])] == [(1, True), (2, False)]
    assert found.done([3]) == []
    content = json.loads(file.read_text())["fleet"]
    assert (content["runs"], content["seeds"], content["lost"], content["kills"], content["killsNotMet"]) == (
        *(2, [1, 2], 1, 2, 2),
    )
    assert content["killsByPlace"] == {"a": 2, "b": 0}


def test_a_part_leaves_the_other_alone(file: Path) -> None:
    part(file, "agent").add(outcome(1))
    part(file).add(outcome(7))
    part(file, again=True).add(outcome(8))
    content = json.loads(file.read_text())
    assert (content["agent"]["seeds"], content["fleet"]["seeds"]) == ([1], [8])


def test_runs_of_other_code_count_no_more(file: Path, tmp_path: Path) -> None:
    source = tmp_path / "agent" / "main.py"
    source.parent.mkdir()
    source.write_text("one")
    before = code_digest(tmp_path, ["agent/**/*.py"])
    part(file, code=before).add(outcome(1))
    source.write_text("two")
    after = code_digest(tmp_path, ["agent/**/*.py"])
    assert part(file, code=before).done([1]) != []
    assert part(file, code=after).done([1]) == []
