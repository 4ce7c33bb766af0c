"""What a development Mac writes is what the API and the agent accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.agent_tokens import read_tokens
from voxfleet_agent.config import load_config
from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import public_key
from voxfleet_dev.mac import Mac


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    mac = Mac("mac-a", tmp_path / "mac-a", allow=["file:///data/"], lanes=2, lost_after="30s")
    mac.write_files()
    return mac


def test_agent_accepts_the_configuration(mac: Mac) -> None:
    config = load_config(mac.config_file)
    assert config.listen.port == mac.agent_port
    assert config.pools[0].lanes == 2
    assert read_tokens(config).operator == mac.token


def test_manifest_is_a_mac_agent(mac: Mac) -> None:
    agent = MacAgent.load(mac.mac_agent_manifest())
    assert agent.spec.ssh is not None
    assert agent.spec.ssh.port == mac.sshd.port
    assert agent.spec.disconnect.lost_after == "30s"
    public_key(agent.spec.ledger_public_key)


def test_secrets_are_those_that_the_manifest_names(mac: Mac) -> None:
    spec = MacAgent.load(mac.mac_agent_manifest()).spec
    assert spec.ssh is not None
    refs = (spec.ssh.identity_secret_ref, spec.token_secret_ref, spec.session_token_secret_ref)
    named = {(ref.name, ref.key) for ref in refs if ref is not None}
    written = set()
    for secret in mac.secret_manifests("voxfleet-system"):
        metadata, data = secret["metadata"], secret["stringData"]
        assert isinstance(metadata, dict)
        assert isinstance(data, dict)
        written |= {(metadata["name"], key) for key in data}
    assert written == named
