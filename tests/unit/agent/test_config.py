from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from voxfleet_agent.agent_tokens import AgentTokens, read_tokens
from voxfleet_agent.config import (
    EXAMPLE,
    ConfigError,
    PoolConfig,
    ReservedConfig,
    create_private_file,
    load_config,
    read_private_file,
    require_gpu_memory,
    require_memory,
)
from voxfleet_agent.local_services import least_lane_memory_bytes
from voxfleet_api.pools import PoolKind


def write(folder: Path, **changes: object) -> Path:
    content: dict[str, object] = yaml.safe_load(EXAMPLE)
    content.update(changes)
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))
    return file


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.scratch.quota_bytes == 20 * 2**30 and config.scratch.min_free_bytes == 2**30
    assert config.pools[0].lanes == 1 and config.allow == ("file:///data/",)


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("stateDir", "state", "absolute path"),
        ("stateDir", None, "is missing; write it"),
        ("listen", {"host": "0.0.0.0"}, "serves TLS alone: write tls: {certificateFile, keyFile, clientCaFile}"),  # noqa: S104
        ("listen", {"host": "192.168.1.7"}, "or host: 127.0.0.1, where the operator comes through SSH"),
        ("listen", {"host": "mac-a.example"}, "write an address of this machine"),
        ("listen", {"host": "0.0.0.0", "tls": {"certificateFile": "/c"}}, "listen.tls.keyFile: is missing"),  # noqa: S104
        ("listen", {"port": 70000}, "65535"),
        ("scratch", {"path": "/s", "quota": "20 GB"}, "scratch.quota: write a number of bytes such as 200Mi"),
        ("scratch", {"path": "/s", "quota": "9" * 30}, "scratch.quota: write a number of bytes such as 200Mi or 20Gi"),
        ("scratch", {"path": "/s", "quota": "1000000Ti"}, "scratch.quota: write a number of bytes"),
        ("scratch", {"path": "/s", "quota": 0}, "scratch.quota: write a number of bytes"),
        ("scratch", {"path": "/s", "quota": 10**17}, "scratch.quota: write a number of bytes"),
        ("scratch", {"path": "/s", "quota": "1Gi", "minFree": "9999999Gi" * 2}, "scratch.minFree: write a number of"),
        ("scratch", {"path": "/s", "quota": "1Gi", "minFree": "12345678901234567890Ti"}, "from 0 to 999999Ti"),
        ("scratch", {"path": "/s", "quota": "1Gi", "quarantineQuota": 10**16}, "scratch.quarantineQuota: write a"),
        ("modelCache", {"path": "/m", "quota": "9999999Ti"}, "modelCache.quota: write a number of bytes"),
        ("pools", [{"name": "a", "memoryCap": "12345678901234567890"}], "pools[0].memoryCap: write a number of bytes"),
        ("pools", [{"name": "a", "memoryCap": 0}], "pools[0].memoryCap: write a number of bytes"),
        ("scratch", {"path": "/Users/voxfleet/state/s", "quota": "1Gi"}, "scratch is swept"),
        ("pools", [], "at least 1"),
        ("pools", [{"name": "a"}, {"name": "a"}], "one name"),
        ("pools", [{"name": "a", "kind": "Live"}], "Offline"),
        ("pools", [{"name": "a", "lanes": 17}], "pools[0].lanes: write 16 or less"),
        ("reserved", [{"name": "llm", "memory": "1Gi"}, {"name": "llm", "memory": "2Gi"}], "reserved: two co-tenants"),
        ("reserved", [{"name": "llm"}], "reserved[0].memory: is missing"),
        ("reserved", [{"name": "llm", "memory": 0}], "reserved[0].memory: write a number of bytes"),
        ("allow", ["file:///data"], "slash at its end"),
        ("allow", ["file:///data/../etc/"], "`..`"),
        ("allow", ["https://2130706433/"], "host"),
        ("https", {"privateNetworks": ["ten"]}, "10.1.0.0/16"),
        ("fileTimeout", "0s", "from 1s to 1h"),
        ("color", "red", "unknown field"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(tmp_path: Path, field: str, value: object, hint: str) -> None:
    file = write(tmp_path, **{field: value})
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert str(file) in message and hint in message
    assert field in message or "scratch" in message or "pools" in message


def test_the_pools_for_jobs_are_the_offline_ones(tmp_path: Path) -> None:
    pools = [{"name": "live", "kind": "Interactive"}, {"name": "night"}]
    assert [pool.name for pool in load_config(write(tmp_path, pools=pools)).offline_pools] == ["night"]
    assert load_config(write(tmp_path, pools=pools[:1])).offline_pools == ()


GIB = 2**30


def test_no_free_space_and_no_quarantine_may_be_asked_for_in_any_unit(tmp_path: Path) -> None:
    scratch = {"path": "/s", "quota": "1Gi", "minFree": "0Gi", "quarantineQuota": "0Mi"}
    config = load_config(write(tmp_path, scratch=scratch))
    assert (config.scratch.min_free_bytes, config.scratch.quarantine_quota_bytes) == (0, 0)


def test_lanes_that_leave_the_machine_nothing_are_refused_with_the_sum() -> None:
    pools = (PoolConfig(name="day", lanes=2, memory_cap="4Gi"), PoolConfig(name="night", memory_cap="6Gi"))
    require_memory(17 * GIB, pools)
    with pytest.raises(ConfigError) as caught:
        require_memory(16 * GIB, pools)
    assert "2 x 4Gi (day) + 1 x 6Gi (night) = 14336 MiB" in str(caught.value)
    assert "at most 13926 MiB" in str(caught.value)


def test_co_tenants_count_with_the_lanes_of_every_kind() -> None:
    pools = (PoolConfig(name="night", memory_cap="4Gi"), PoolConfig(name="live", kind=PoolKind.INTERACTIVE))
    reserved = (ReservedConfig(name="text-llm", memory="3Gi"), ReservedConfig(name="db", memory="1Gi"))
    require_memory(16 * GIB, pools, reserved)
    told = r"1 x 4Gi \(night\) \+ 1 x 4Gi \(live\) \+ 3Gi \(reserved: text-llm\) \+ 1Gi \(reserved: db\) = 12288 MiB"
    with pytest.raises(ConfigError, match=f"pools and reserved: .* {told}.*lower memoryCap, lanes or reserved"):
        require_memory(14 * GIB, pools, reserved)
    require_gpu_memory(12 * GIB, pools, reserved)
    with pytest.raises(ConfigError, match=f"{told}; this machine's GPU may wire 12287 MiB"):
        require_gpu_memory(12 * GIB - 1, pools, reserved)


@pytest.mark.parametrize(
    ("pools", "least_bytes"),
    [
        ([("night", "Offline", "6Gi"), ("day", "Offline", "5Gi"), ("live", "Interactive", "1Gi")], 5 * GIB),
        ([("live", "Interactive", "1Gi")], GIB),
    ],
)
def test_batches_are_measured_for_the_smallest_lane_that_gets_any(
    pools: list[tuple[str, PoolKind, str]], least_bytes: int
) -> None:
    configs = [PoolConfig(name=name, kind=PoolKind(kind), memory_cap=cap) for name, kind, cap in pools]
    assert least_lane_memory_bytes(configs) == least_bytes


def test_lanes_with_a_lane_user_are_in_folders_that_it_can_reach(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, laneUser="lanes", modelCache={"path": "/Users/voxfleet/models"}))
    assert config.lane_dir.is_relative_to(config.scratch.path)
    with pytest.raises(ConfigError, match="models must lie outside stateDir"):
        load_config(write(tmp_path, laneUser="lanes", modelCache=None))


def test_a_wrong_name_is_reported_with_the_right_one_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, pools=[{"name": "offline", "memorycap": "24Gi"}]))
    assert str(caught.value).splitlines()[1:] == ["  pools[0].memorycap: unknown field; write memoryCap"]


@pytest.mark.parametrize("content", ["", "- a", "a: [", "7"])
def test_a_file_that_holds_no_configuration_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"agent\.yaml"):
        load_config(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert create_private_file(file, b"secret") and not create_private_file(file, b"other")
    assert read_private_file(file, "tokenFile") == b"secret" and file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_private_file(file, "tokenFile")
    with pytest.raises(ConfigError, match="voxfleet-agent init --config FILE"):
        read_private_file(tmp_path / "none", "tokenFile")


def test_the_tokens_of_operators_and_of_sessions_are_two(tmp_path: Path) -> None:
    for name, token in (("token", b"0123456789abcdef"), ("other", b"fedcba9876543210"), ("short", b"0123456789")):
        create_private_file(tmp_path / name, token + b"\n")
    alone = load_config(write(tmp_path, tokenFile=str(tmp_path / "token")))
    assert read_tokens(alone) == AgentTokens("0123456789abcdef", None)
    both = load_config(write(tmp_path, tokenFile=str(tmp_path / "token"), sessionTokenFile=str(tmp_path / "other")))
    assert read_tokens(both) == AgentTokens("0123456789abcdef", "fedcba9876543210")
    assert "abcdef" not in repr(read_tokens(both)) and "fedcba" not in repr(read_tokens(both))
    assert both.secret_files.keys() == {"tokenFile", "sessionTokenFile", "ledgerKeyFile"}
    for file, says in (("token", "sessionTokenFile: .*write another one"), ("short", "sessionTokenFile: .*16 char")):
        wrong = write(tmp_path, tokenFile=str(tmp_path / "token"), sessionTokenFile=str(tmp_path / file))
        with pytest.raises(ConfigError, match=says):
            read_tokens(load_config(wrong))


def test_caps_beyond_what_the_gpu_may_wire_are_refused_with_the_arithmetic() -> None:
    pools = [PoolConfig(name="a", lanes=2, memory_cap="6Gi"), PoolConfig(name="b", lanes=1, memory_cap="1Gi")]
    require_gpu_memory(None, pools)
    require_gpu_memory(13 * GIB, pools)
    with pytest.raises(
        ConfigError, match=r"2 x 6Gi \(a\) \+ 1 x 1Gi \(b\) = 13312 MiB; .* GPU may wire 13311 MiB"
    ) as told:
        require_gpu_memory(13 * GIB - 1, pools)
    assert "iogpu.wired_limit_mb=13312" in str(told.value)
