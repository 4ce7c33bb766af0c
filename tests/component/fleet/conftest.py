"""The rig of this folder's tests, closed before the servers it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.component.fleet.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = Rig(tmp_path, stack)
        stack.push_async_callback(rig.fleet.close)
        yield rig
