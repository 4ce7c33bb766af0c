"""The folder that a run without a cluster writes below."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.standalone.job_documents import DocumentError
from voxfleet_agent.standalone.run_paths import make_output_folder


def test_missing_folders_are_made(tmp_path: Path) -> None:
    make_output_folder(f"file://{tmp_path}/a/b/")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_place_that_cannot_be_written_is_told_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DocumentError, match=r"spec\.output\.uri: .*write a folder"):
        make_output_folder(f"file://{tmp_path}/file/below/")
