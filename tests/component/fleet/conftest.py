"""The rig of this folder's tests, closed before the servers it talks to."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.component.fleet.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        # Short, as a socket's path has to be; and its own, as other operators keep their sockets in the usual one.
        monkeypatch.setattr(tempfile, "tempdir", stack.enter_context(tempfile.TemporaryDirectory(prefix="vf-")))
        rig = Rig(tmp_path, stack)
        stack.push_async_callback(rig.fleet.close)
        yield rig
