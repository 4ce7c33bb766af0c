"""All chains that a Mac has begun are served, listed and verified by their own keys; an old journal goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.component.agent.agent_rig import COMMIT, Agent, process_spec, request_for, running_agent
from tests.rig.agent_command import invoke

from voxfleet_agent.attempts.recovery import recover
from voxfleet_agent.journal import schema
from voxfleet_agent.journal.journal import Journal, JournalError, open_read_only
from voxfleet_agent.ledger import Ledger, begin_chain, chains, open_chain, page_after, public_key_text, verify_lines
from voxfleet_agent.scratch import Scratch
from voxfleet_api.ledger import GENESIS_HASH, LedgerError, public_key, verify
from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_api.protocol import LedgerChains, LedgerPage

FORMAT_1 = Path(__file__).parent / "journal_format_1.sql"
OLD_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


async def one_attempt(agent: Agent, shard: str) -> None:
    request = request_for(process_spec(shard))
    await agent.put(request)
    await agent.stage_entered()
    agent.clock.advance(1)
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(request, "Succeeded")


async def served(agent: Agent, chain_id: str, after: int = -1) -> LedgerPage:
    answer = await agent.http.get("/v1/ledger", params={"chain": chain_id, "after": after})
    return LedgerPage.load(answer.json())


async def test_a_chain_of_another_key_stays_readable_and_is_proven_by_that_key(tmp_path: Path) -> None:
    async with running_agent(tmp_path) as agent:
        await one_attempt(agent, "shard-1")
    journal = await Journal.open(tmp_path / "state", tmp_path / "state" / "journal.sqlite3")
    await journal.write(lambda db: begin_chain(db, public_key_text(OLD_KEY)))
    await journal.close()
    async with running_agent(tmp_path) as agent:
        await one_attempt(agent, "shard-2")
        facts = MachineFacts.load((await agent.http.get("/v1/machine")).json())
        assert Capability.LEDGER_CHAINS in facts.capabilities
        listed = LedgerChains.load((await agent.http.get("/v1/ledger/chains")).json()).chains
        assert [(chain.chain_id == facts.ledger_chain_id, chain.sequence) for chain in listed] == [
            (True, 2),
            (False, -1),
            (False, 2),
        ]
        assert [chain.ledger_key for chain in listed] == [public_key_text(key) for key in (KEY, OLD_KEY, KEY)]
        for chain in listed:
            page = await served(agent, chain.chain_id)
            head = verify(page.rows, public_key(chain.ledger_key or ""))
            assert (None if head is None else head.hash) == chain.hash and page.chain_id == chain.chain_id
        assert (await served(agent, listed[2].chain_id, after=1)).rows[0].row.sequence == 2
        assert (await agent.http.get("/v1/ledger", params={"chain": "nobody"})).status_code == 404


async def test_a_journal_of_the_format_before_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    with sqlite3.connect(file) as db:
        db.executescript(FORMAT_1.read_text())
    db.close()
    with pytest.raises(JournalError, match=f"has format 1, this version reads {schema.VERSION}; start the agent once"):
        open_read_only(file)
    chain_id = "8e84bbe76c3a0c3b"
    for _ in range(2):
        journal = await Journal.open(tmp_path, file)
        assert await journal.write(lambda db: open_chain(db, public_key_text(KEY))) == chain_id
        scratch = Scratch(tmp_path / "scratch", 1000, 0)
        await recover(journal, Ledger(KEY, chain_id, "hw-1"), scratch)
        scratch.close()
        listed = await journal.read(chains)
        rows = (await journal.read(lambda db: page_after(db, chain_id, -1, 10))).rows
        columns = await journal.read(_columns)
        await journal.close()
    assert [(chain.chain_id, chain.ledger_key, chain.sequence) for chain in listed] == [
        (chain_id, public_key_text(KEY), 2),
        ("d2249e8aa236e09a", None, 0),
    ]
    assert verify(rows, KEY.public_key()) is not None
    assert [(row.row.wall_start, row.row.wall_end, row.row.monotonic_milliseconds) for row in rows[1:]] == [
        ("2026-10-31T23:59:58.000Z", "2026-11-01T00:00:00.000Z", 2000),
        ("2026-11-01T00:00:00.000Z", "2026-11-01T00:00:09.000Z", 8000),
    ]
    with sqlite3.connect(":memory:") as new:
        new.executescript(schema.TABLES)
        assert columns == _columns(new)


def _columns(db: sqlite3.Connection) -> list[list[tuple[object, ...]]]:
    return [
        db.execute(f"PRAGMA table_info({table})").fetchall() for table in ("lane_holds", "chains", "lane_tombstones")
    ]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.yaml"
    file.write_text(
        f"stateDir: {tmp_path}/state\n"
        "listen: {port: 0}\n"
        f"tokenFile: {tmp_path}/secrets/token\n"
        f"ledgerKeyFile: {tmp_path}/secrets/ledger.pem\n"
        f"scratch: {{path: {tmp_path}/scratch, quota: 1Gi}}\n"
    )
    return file


async def test_the_command_lists_verifies_and_begins_chains(config: Path, tmp_path: Path) -> None:
    assert invoke("init", "--config", config).returncode == 0
    async with running_agent(tmp_path) as agent:
        await one_attempt(agent, "shard-1")
        busy = await asyncio.to_thread(invoke, "ledger", "new-chain", "--config", config)
        assert busy.returncode == 1 and "in use" in busy.stderr
    (tmp_path / "secrets" / "ledger.pem").write_bytes(agent.key_pem())
    begun = await asyncio.to_thread(invoke, "ledger", "new-chain", "--config", config)
    assert begun.returncode == 0, begun.stderr
    new = begun.stdout.split()[1]
    async with running_agent(tmp_path) as agent:
        await one_attempt(agent, "shard-2")
    shown = invoke("ledger", "list", "--config", config, "--last", "2").stdout.splitlines()
    assert shown[0].startswith(f"chain {new} (current): key {public_key_text(KEY)}, 3 rows, up to hash ")
    assert [line.split("\t")[0] for line in shown[1:4]] == ["number", "1", "2"]
    assert shown[2].split("\t")[3:10] == [
        "1.000",
        "Work",
        "offline-0",
        "Offline",
        "AudioBatchJob speech/calls",
        "team-speech",
        "0",
    ]
    assert sum(line.startswith("chain ") for line in shown) == 2
    verified = invoke("ledger", "verify", "--config", config).stdout.splitlines()
    assert [line.split(":")[1].split(",")[0] for line in verified] == [" 3 rows verified", " 3 rows verified"]
    exported = invoke("ledger", "export", "--config", config).stdout
    file = tmp_path / "rows.jsonl"
    file.write_text(exported)
    assert invoke("ledger", "verify", "--config", config, "--rows", file).returncode == 0


async def test_rows_under_another_key_do_not_verify(tmp_path: Path) -> None:
    async with running_agent(tmp_path) as agent:
        await one_attempt(agent, "shard-1")
        rows = (await agent.ledger()).rows
    lines = ((row.name, row.model_dump_json(by_alias=True, exclude_none=True)) for row in rows)
    with pytest.raises(LedgerError, match="not by this Mac's ledger key"):
        verify_lines(lines, lambda chain_id: public_key_text(OLD_KEY))
    assert rows[0].row.previous_hash == GENESIS_HASH
