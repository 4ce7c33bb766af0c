"""The findings that the doctor decides from its readings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from voxfleet_agent.config import AgentConfig, PoolConfig, ReservedConfig, create_private_file
from voxfleet_agent.doctor import macos, runtime
from voxfleet_agent.doctor.finding import Finding, Health
from voxfleet_agent.doctor.memory_and_clock import CoTenant, judge_clock, judge_memory, judge_tenants
from voxfleet_agent.doctor.secrets import check_secrets
from voxfleet_agent.doctor.volumes import (
    Volume,
    check_volumes,
    judge_free_space,
    judge_location,
    judge_modes,
    judge_speed,
    judge_unmounted,
)
from voxfleet_agent.ledger import create_key_file
from voxfleet_api.pools import PoolKind

GIB = 2**30
BUILD = {"arch_matches": True, "python_tag_matches": True, "build_mlx_version": "abi-independent"}


def assert_mendable(finding: Finding, health: Health) -> None:
    assert finding.health is health, finding
    assert bool(finding.mend) == (health is not Health.OK), "each trouble says how to mend it"


@pytest.mark.parametrize(
    ("installed", "health"),
    [({"mlx": "0.32.4"}, Health.OK), ({"mlx": "0.33.0"}, Health.FAIL), ({}, Health.FAIL)],
)
def test_versions(installed: dict[str, str], health: Health) -> None:
    assert_mendable(runtime.judge_versions({"mlx": "0.32.4"}, installed), health)


def test_the_installed_pins_are_read_from_the_distribution() -> None:
    assert {"mlx", "mlx-audio", "mlx-audio-io"} <= set(runtime._required())


def probe(**changes: object) -> str:
    return json.dumps({"build": BUILD, "soxr": True, "decoders": {"wav": "", "flac": ""}} | changes)


@pytest.mark.parametrize(
    ("output", "name", "health"),
    [
        (probe(), "decoders", Health.OK),
        (probe(decoders={"wav": "", "flac": "RuntimeError: no codec"}), "decoders", Health.FAIL),
        (probe(soxr=False), "soxr", Health.FAIL),
        (probe(build=BUILD | {"arch_matches": False}), "mlx", Health.FAIL),
    ],
)
def test_decoders_soxr_and_build(output: str, name: str, health: Health) -> None:
    found = {finding.name: finding for finding in runtime.judge_probe(0, output, "")}
    assert_mendable(found[name], health)


def test_an_mlx_that_does_not_start_is_one_finding_with_its_last_line() -> None:
    (finding,) = runtime.judge_probe(-6, "", "Traceback\nImportError: libmlx.so\n")
    assert_mendable(finding, Health.FAIL)
    assert "libmlx.so" in finding.found


def test_blas() -> None:
    file = "/usr/lib/elsewhere/libopenblas.so.0"
    assert_mendable(runtime.judge_blas("linux", file, file), Health.OK)
    assert_mendable(runtime.judge_blas("darwin", None, None), Health.OK)
    missing, unused = runtime.judge_blas("linux", None, None), runtime.judge_blas("linux", None, file)
    assert_mendable(missing, Health.WARN)
    assert_mendable(unused, Health.WARN)
    assert "install libopenblas0-pthread" in missing.mend
    assert unused.mend == f"run `export LD_PRELOAD={file}` before you start voxfleet-agent"


@pytest.mark.parametrize(
    ("path", "filesystem", "health"),
    [
        ("/Volumes/scratch/voxfleet", "apfs", Health.OK),
        ("/Volumes/share/voxfleet", "smbfs", Health.FAIL),
        ("/mnt/x", "nfs4", Health.FAIL),
        ("/mnt/x", "fuse.sshfs", Health.FAIL),
        ("/private/tmp/voxfleet", "apfs", Health.FAIL),
        ("/var/folders/ab/voxfleet", "apfs", Health.FAIL),
        ("/private/tmpfoo/voxfleet", "ext4", Health.OK),
        ("/run/voxfleet", "tmpfs", Health.WARN),
    ],
)
def test_scratch_is_local_and_stays(path: str, filesystem: str, health: Health) -> None:
    assert_mendable(judge_location(Volume(Path(path), filesystem, GIB)), health)


@pytest.mark.parametrize(("free", "health"), [(30, Health.OK), (15, Health.WARN), (0, Health.FAIL)])
def test_scratch_room(free: int, health: Health) -> None:
    assert_mendable(judge_free_space(Volume(Path("/s"), "apfs", free * GIB), 20 * GIB, GIB), health)


def test_scratch_speed() -> None:
    assert_mendable(judge_speed(900 * 2**20), Health.OK)
    assert_mendable(judge_speed(50 * 2**20), Health.WARN)


def test_private_files() -> None:
    own = os.geteuid()
    assert_mendable(judge_modes({Path("/k"): (0o600, own)})[0], Health.OK)
    (opened, foreign) = judge_modes({Path("/k"): (0o644, own), Path("/t"): (0o600, own + 1)})
    assert_mendable(opened, Health.FAIL)
    assert "chmod go-rwx /k" in opened.mend and "chown" in foreign.mend


def test_lanes_leave_the_system_its_memory() -> None:
    pools = (PoolConfig(name="offline", lanes=2, memory_cap="6Gi"),)
    assert_mendable(judge_memory(16 * GIB, pools), Health.OK)
    assert_mendable(judge_memory(12 * GIB, pools), Health.FAIL)
    too_much = judge_memory(16 * GIB, pools, (ReservedConfig(name="text-llm", memory="2Gi"),))
    assert_mendable(too_much, Health.FAIL)
    assert "reserved" in too_much.mend and "14.0 GiB" in too_much.found


def test_co_tenants_are_named() -> None:
    assert_mendable(judge_tenants([], 0), Health.OK)
    tenants = [CoTenant("llm-server", 412, 9 * GIB)]
    assert_mendable(judge_tenants(tenants, 9 * GIB), Health.OK)
    finding = judge_tenants(tenants, 9 * GIB - 1)
    assert_mendable(finding, Health.WARN)
    assert "llm-server (412): 9.0 GiB" in finding.found


@pytest.mark.parametrize(("synchronized", "health"), [(True, Health.OK), (False, Health.WARN), (None, Health.WARN)])
def test_clock(synchronized: bool | None, health: Health) -> None:
    assert_mendable(judge_clock(synchronized, "adjtimex"), health)


PMSET = """Battery Power:
 sleep                1
AC Power:
 sleep                {sleep}
 autorestart          {autorestart}
 disksleep            10
"""
SCRATCH = Path("/Volumes/scratch/voxfleet")


@pytest.mark.parametrize(
    ("finding", "health"),
    [
        (macos.judge_sleep(PMSET.format(sleep=0, autorestart=1)), Health.OK),
        (macos.judge_sleep(PMSET.format(sleep=10, autorestart=1)), Health.WARN),
        (macos.judge_sleep(PMSET.format(sleep=0, autorestart=0)), Health.WARN),
        (macos.judge_sleep(""), Health.WARN),
        (macos.judge_filevault("FileVault is On.\n"), Health.WARN),
        (macos.judge_filevault("FileVault is Off.\n"), Health.OK),
        (macos.judge_filevault(""), Health.WARN),
        (macos.judge_updates("0\n"), Health.OK),
        (macos.judge_updates("1\n"), Health.WARN),
        (macos.judge_updates("The domain/default pair does not exist"), Health.WARN),
        (macos.judge_spotlight("/Volumes/scratch:\n\tIndexing enabled. \n", SCRATCH), Health.WARN),
        (macos.judge_spotlight("/Volumes/scratch:\n\tIndexing disabled.\n", SCRATCH), Health.OK),
        (macos.judge_time_machine(f"[Excluded]    {SCRATCH}\n", SCRATCH), Health.OK),
        (macos.judge_time_machine(f"[Included]    {SCRATCH}\n", SCRATCH), Health.WARN),
        (macos.local_network(), Health.WARN),
    ],
)
def test_macos_findings_from_the_output_of_its_tools(finding: Finding, health: Health) -> None:
    assert_mendable(finding, health)


def agent_config(folder: Path, **https: str) -> AgentConfig:
    return AgentConfig.load(
        {
            "stateDir": str(folder / "state"),
            "tokenFile": str(folder / "token"),
            "ledgerKeyFile": str(folder / "ledger.pem"),
            "scratch": {"path": str(folder / "scratch"), "quota": "1Gi"},
            "https": https,
        }
    )


def test_missing_secrets_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    token, key = check_secrets(agent_config(tmp_path))
    for finding, file in ((token, "token"), (key, "ledger.pem")):
        assert_mendable(finding, Health.FAIL)
        assert str(tmp_path / file) in finding.found and "voxfleet-agent init --config FILE" in finding.mend


def test_secrets_with_other_content_are_named(tmp_path: Path) -> None:
    for name in ("token", "ledger.pem", "ca.pem"):
        (tmp_path / name).write_text("short")
        (tmp_path / name).chmod(0o600)
    findings = check_secrets(agent_config(tmp_path, caBundle=str(tmp_path / "ca.pem")))
    for finding, file in zip(findings, ("token", "ledger.pem", "ca.pem"), strict=True):
        assert_mendable(finding, Health.FAIL)
        assert str(tmp_path / file) in finding.found


def test_secrets_that_can_be_read_are_fine(tmp_path: Path) -> None:
    create_key_file(tmp_path / "ledger.pem")
    create_private_file(tmp_path / "token", b"0123456789abcdef")
    for finding in check_secrets(agent_config(tmp_path)):
        assert_mendable(finding, Health.OK)
    (tmp_path / "token").chmod(0o644)
    token, _ = check_secrets(agent_config(tmp_path))
    assert_mendable(token, Health.FAIL)
    assert f"chmod 600 {tmp_path / 'token'}" in token.mend


def test_an_interactive_pool_without_a_session_token_is_told(tmp_path: Path) -> None:
    config = agent_config(tmp_path)
    live = PoolConfig(name="live", kind=PoolKind.INTERACTIVE)
    found = check_secrets(config.model_copy(update={"pools": (live,)}))
    (finding,) = [one for one in found if one.name == "session token"]
    assert_mendable(finding, Health.WARN)
    named = config.model_copy(update={"pools": (live,), "session_token_file": tmp_path / "other"})
    assert "session token" not in {one.name for one in check_secrets(named)}


def test_a_missing_scratch_folder_is_reported_and_not_made(tmp_path: Path) -> None:
    config = agent_config(tmp_path / "nowhere")
    (finding,) = (one for one in check_volumes(config) if one.name == "scratch")
    assert_mendable(finding, Health.WARN)
    assert "does not exist" in finding.found and str(config.scratch.path) in finding.mend
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_is_not_mounted_is_reported() -> None:
    assert_mendable(judge_unmounted(Path("/Volumes/scratch")), Health.FAIL)
