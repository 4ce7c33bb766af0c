"""Ctrl-C while a run waits for its storage."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from tests.component.local.conftest import Home

from voxfleet_agent.local import places as local_places
from voxfleet_agent.local.environment import settle, with_defaults
from voxfleet_agent.local.files import read_files
from voxfleet_agent.local.orders import JobOrders
from voxfleet_agent.local.output_place import make_output
from voxfleet_agent.local.progress import Lines
from voxfleet_agent.local.session import run_here
from voxfleet_agent.local.summary import Summary, summary_text
from voxfleet_agent.local.verdicts import Ending
from voxfleet_agent.storage import Storage


async def test_a_run_that_only_waited_for_its_storage_is_parked(
    home: Home, refused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = asyncio.Event()

    async def hangs(storage: Storage, uri: str, limit: int) -> list[str]:
        listing.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(Storage, "list_names", hangs)

    async def interrupted() -> Summary:
        listing.clear()
        run = asyncio.create_task(run_in(home, home.job("slow", refused)))
        listed = asyncio.create_task(listing.wait())
        await asyncio.wait({run, listed}, return_when=asyncio.FIRST_COMPLETED)  # a run that ended never lists
        listed.cancel()
        run.cancel()
        return await run

    planned = await interrupted()
    waited = await interrupted()
    assert (planned.ran, waited.ran) == (True, False)
    assert (planned.verdict.ending, waited.verdict.ending) == (Ending.PARKED, Ending.PARKED)
    assert "nothing ran" not in summary_text(waited) and "goes on where this one stopped" in summary_text(waited)


async def run_in(home: Home, file: Path) -> Summary:
    documents, environment = read_files([file]), home.environment()
    job, contract = documents.job, documents.contract.spec
    user = Path(environment["HOME"])
    runbook = settle(environment, user, contract, job.spec.task)
    make_output(job.spec.output.uri)
    orders = JobOrders.of(job, with_defaults(contract, runbook), runbook.settings())
    state, cache = local_places.state_home(environment, user), local_places.cache_home(environment, user)
    places = local_places.without_agent(orders, runbook, state, cache, 2**33)
    return await run_here(orders, places, None, Lines(io.StringIO()))
