"""A job's own files, on storage that others write to as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from voxfleet_agent.stages.frozen_plan import read_plan, require_shared_output
from voxfleet_agent.stages.job_files import SMALL_FILE_BYTES, JobFiles
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Retries


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("nonce", lambda files: require_shared_output(files, 1)),
        ("plan.json", lambda files: read_plan(files, 1, "0" * 64)),
    ],
)
async def test_small_files_are_not_read_when_they_are_large(
    tmp_path: Path, name: str, read: Callable[[JobFiles], Awaitable[object]]
) -> None:
    folder = tmp_path / "plan" / "1"
    folder.mkdir(parents=True)
    (folder / "nonce").write_bytes(b"n")
    with (folder / name).open("wb") as file:
        file.truncate(SMALL_FILE_BYTES + 1)
    async with Storage([f"file://{tmp_path}/"]) as storage:
        with pytest.raises(VoxFleetError, match=name) as caught:
            await read(JobFiles(storage, f"file://{tmp_path}", Retrier(Retries(max_retries=0))))
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
