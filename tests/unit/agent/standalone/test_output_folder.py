"""The folder that a run without a cluster writes below."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.standalone.job_documents import DocumentError
from voxfleet_agent.standalone.run_paths import make_output_folder, remove_plan_traces


def test_missing_folders_are_made(tmp_path: Path) -> None:
    make_output_folder(f"file://{tmp_path}/a/b/")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_place_that_cannot_be_written_is_told_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DocumentError, match=r"spec\.output\.uri: .*write a folder"):
        make_output_folder(f"file://{tmp_path}/file/below/")


def test_what_a_refused_plan_wrote_is_removed(tmp_path: Path) -> None:
    for attempt in ("1", "2"):
        (tmp_path / "job" / "plan" / attempt).mkdir(parents=True)
        (tmp_path / "job" / "plan" / attempt / "nonce").touch()
    remove_plan_traces(tmp_path / "job")
    remove_plan_traces(tmp_path / "job")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["plan/1/plan.json", "owner.json", "parts/a/1/base.json", "plan/2/manifest.jsonl"])
def test_an_output_with_anything_else_in_it_stays_as_it_is(tmp_path: Path, other: str) -> None:
    for name in ("plan/1/nonce", other):
        (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / name).touch()
    remove_plan_traces(tmp_path / "job")
    assert (tmp_path / "job" / "plan" / "1" / "nonce").exists() and (tmp_path / "job" / other).exists()
