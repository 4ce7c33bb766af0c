"""The command `voxfleet-agent`, as people and launchd start it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.component.agent.agent_rig import COMMIT, process_spec, request_for, running_agent
from tests.rig.agent_command import invoke

from voxfleet_api.ledger import SignedRow, public_key


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "stateDir": str(tmp_path / "state"),
                "listen": {"port": 0},
                "tokenFile": str(tmp_path / "secrets" / "token"),
                "sessionTokenFile": str(tmp_path / "secrets" / "session-token"),
                "ledgerKeyFile": str(tmp_path / "secrets" / "ledger.pem"),
                "scratch": {"path": str(tmp_path / "scratch"), "quota": "1Gi"},
            }
        )
    )
    return file


def started(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "voxfleet_agent", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_init_makes_a_key_and_two_tokens_once(config: Path, tmp_path: Path) -> None:
    first, second = invoke("init", "--config", config), invoke("init", "--config", config)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    public_key(first.stdout.strip())
    assert "created" in first.stderr and "created" not in second.stderr
    assert (tmp_path / "secrets" / "token").read_text() != (tmp_path / "secrets" / "session-token").read_text()
    for name in ("token", "session-token", "ledger.pem"):
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_missing_file_is_named(config: Path, tmp_path: Path) -> None:
    served = started("serve", "--config", config)
    assert served.returncode == 1 and "tokenFile" in served.stderr and "init" in served.stderr
    assert "Traceback" not in served.stderr
    invoke("init", "--config", config)
    (tmp_path / "secrets" / "ledger.pem").chmod(0o644)
    served = started("serve", "--config", config)
    assert served.returncode == 1 and "ledgerKeyFile" in served.stderr and "chmod 600" in served.stderr
    absent = started("serve", "--config", tmp_path / "none.yaml")
    assert absent.returncode == 1 and "none.yaml" in absent.stderr


def test_help_shows_examples() -> None:
    for words in (("init",), ("serve",), ("ledger", "export"), ("ledger", "verify")):
        shown = invoke(*words, "--help")
        assert shown.returncode == 0 and f"Example: voxfleet-agent {' '.join(words)}" in shown.stdout


async def test_the_ledger_is_exported_and_verified(config: Path, tmp_path: Path) -> None:
    assert invoke("init", "--config", config).returncode == 0
    empty = invoke("ledger", "verify", "--config", config)
    assert empty.returncode == 1 and "has this agent run yet?" in empty.stderr
    async with running_agent(tmp_path) as agent:
        request = request_for(process_spec())
        await agent.put(request)
        agent.stage.answers.put_nowait(COMMIT)
        await agent.until(request, "Succeeded")
    (tmp_path / "secrets" / "ledger.pem").write_bytes(agent.key_pem())
    exported = invoke("ledger", "export", "--config", config)
    rows = [SignedRow.load(json.loads(line)) for line in exported.stdout.splitlines()]
    assert [signed.row.sequence for signed in rows] == [0, 1, 2]
    assert "3 rows verified" in invoke("ledger", "verify", "--config", config).stdout

    changed = tmp_path / "rows.jsonl"
    changed.write_text(exported.stdout.replace('"activity": "Work"', '"activity": "Setup"'))
    verified = invoke("ledger", "verify", "--config", config, "--rows", changed)
    assert verified.returncode == 1 and rows[1].name in verified.stderr
