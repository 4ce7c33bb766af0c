"""Many fake Macs in one process, each on a loopback port of its own, until SIGTERM.

python -m tests.rig.fake_fleet SETTINGS.json
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.rig.fake_fleet.agent import MacSettings, ledger_key, open_services, serve
from tests.rig.fake_fleet.settings import PORTS_NAME, TOKEN, FleetPorts, FleetSettings
from tests.rig.fake_fleet.stages import SleepingWork

from voxfleet_agent import logs
from voxfleet_agent.addresses import AllowList
from voxfleet_agent.clock import SystemClock
from voxfleet_agent.config import Listen
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.server.app import listen_on
from voxfleet_agent.storage import Mounts

CALL_SECONDS = 60.0


async def run(settings: FleetSettings) -> None:
    """Raises what ends an agent."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    work = SleepingWork(settings.clip_seconds, settings.audio_milliseconds, settings.quarantine_every)
    mounts = Mounts(AllowList(settings.allow).folders, CALL_SECONDS)
    models = ModelStore(settings.folder / "models", 2**30)
    clock = SystemClock()
    ports: dict[str, int] = {}
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as serving:
        for name in settings.names:
            mac = MacSettings(
                name=name,
                folder=settings.folder / name,
                token=TOKEN,
                key=ledger_key(name),
                allow=settings.allow,
                work=work,
                lanes=settings.lanes,
                load_seconds=settings.load_seconds,
            )
            services = await stack.enter_async_context(open_services(mac, clock, mounts, models))
            listener = listen_on(Listen(host="127.0.0.1", port=0))
            ports[name] = listener.getsockname()[1]
            serving.create_task(serve(services, TOKEN, listener, stopping))
        told = settings.folder / PORTS_NAME
        told.with_suffix(".new").write_text(FleetPorts(ports=ports).model_dump_json())
        told.with_suffix(".new").replace(told)
        await stopping.wait()


def main() -> int:
    settings = FleetSettings.model_validate_json(Path(sys.argv[1]).read_text())
    logs.configure(logging.WARNING)
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
