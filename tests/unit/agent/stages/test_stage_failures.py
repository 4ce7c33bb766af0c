"""The failure class of an attempt, from what its stage raised."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from voxfleet_agent.stages.stage_runner import failure_of
from voxfleet_api.failures import FailureClass, VoxFleetError


def test_a_known_class_stays_whatever_else_is_in_the_group() -> None:
    group = BaseExceptionGroup("", [OSError(errno.EIO, ""), VoxFleetError(FailureClass.TRANSPORT, "no answer")])
    assert failure_of(group).failure_class is FailureClass.TRANSPORT


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_an_error_of_a_disk_is_scratch_exhausted(number: int) -> None:
    assert failure_of(OSError(number, "")).failure_class is FailureClass.SCRATCH_EXHAUSTED


def test_an_error_of_the_journal_s_disk_is_scratch_exhausted_and_a_wrong_statement_is_not(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    sqlite3.connect(file).execute("CREATE TABLE rows (line)")
    read_only = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as refused:
        read_only.execute("INSERT INTO rows VALUES (1)")
    assert failure_of(refused.value).failure_class is FailureClass.SCRATCH_EXHAUSTED
    with pytest.raises(sqlite3.OperationalError) as wrong:
        read_only.execute("SELECT * FROM nothing")
    assert failure_of(wrong.value).failure_class is FailureClass.RUNTIME_MISMATCH


def test_a_sqlite_error_without_a_code_is_classified_too() -> None:
    assert failure_of(sqlite3.OperationalError("could not decode")).failure_class is FailureClass.RUNTIME_MISMATCH
