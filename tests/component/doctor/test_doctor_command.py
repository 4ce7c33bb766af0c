"""`voxfleet-agent doctor` on this machine, with the real MLX."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from voxfleet_dev.mac import Mac, agent_environment


def run_doctor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voxfleet_agent", "doctor", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=agent_environment(),
        check=False,
        timeout=300,
        cwd="/",  # as a service: what lies below the folder that it was started in is no package
    )


def test_the_doctor_finds_problems_and_leaves_scratch_unchanged(tmp_path: Path) -> None:
    mac = Mac("mac", tmp_path / "mac", allow=[])
    mac.write_files()
    mac.scratch.mkdir(mode=0o700)
    (tmp_path / "mac" / "token").chmod(0o644)
    ran = run_doctor("-c", mac.config_file, "-o", "json")
    found = {item["name"]: item for item in json.loads(ran.stdout)}
    assert ran.returncode == 1, ran.stderr
    for name in ("versions", "mlx-audio-io doctor", "mlx", "decoders", "soxr", "memory"):
        assert found[name]["health"] == "ok", found[name]
    assert found["permissions"]["health"] == "fail" and "chmod go-rwx" in found["permissions"]["mend"]
    assert found["tokens"]["health"] == "fail" and "chmod 600" in found["tokens"]["mend"]
    assert found["ledger key"]["health"] == "ok"
    assert "MiB/s" in found["scratch speed"]["found"]
    if sys.platform == "linux":
        assert found["lane network"]["health"] == found["lane files"]["health"] == "ok", found
    assert [*mac.scratch.iterdir()] == []


def test_a_wrong_configuration_is_named_before_any_check(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump({"stateDir": "state"}))
    ran = run_doctor("-c", file)
    assert ran.returncode == 1 and "stateDir: write an absolute path" in ran.stderr
