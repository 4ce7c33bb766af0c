"""Digests of one model folder that several attempts want at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from voxfleet_agent.models import model_files
from voxfleet_agent.models.model_files import FileDigests
from voxfleet_agent.storage.mount_calls import MountCalls


async def test_an_attempt_that_waits_for_another_one_s_digests_is_not_given_up(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    digests = FileDigests()
    calls = MountCalls("/models", seconds=4 * model_files._LOCK_WAIT_SECONDS)
    lock = digests._locks[tmp_path]
    lock.acquire()
    waited = asyncio.ensure_future(calls.run(lambda: digests.of(tmp_path, ["model.safetensors"])))
    done, _ = await asyncio.wait({waited}, timeout=6 * model_files._LOCK_WAIT_SECONDS)
    lock.release()
    assert not done, "it was given up"
    assert (await waited)["model.safetensors"].size_bytes == 7
