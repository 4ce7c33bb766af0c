"""The rig of this folder's tests, closed before the agents it talks to."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.component.gateway.gateway_rig import GatewayRig


@pytest.fixture
async def rig() -> AsyncIterator[GatewayRig]:
    async with AsyncExitStack() as stack:
        # Short, as a socket's path has to be.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vf-")))
        rig = GatewayRig(folder, stack)
        yield rig
        await rig.links.close()
