from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.machine import judge_build_info, read_machine

FITS: dict[str, object] = {
    "arch_matches": True,
    "python_tag_matches": True,
    "mlx_version_matches": False,
    "build_mlx_version": "abi-independent",
    "build_arch": "arm64",
    "runtime_arch": "x86_64",
    "build_python_tag": "cp311",
    "runtime_python_tag": "cp312",
    "runtime_mlx_version": "0.32.4",
    "package_version": "1.3.24",
}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "compatible", "word"),
    [
        ({}, True, "fits"),
        ({"arch_matches": False}, False, "arm64"),
        ({"python_tag_matches": False}, False, "cp311"),
        ({"build_mlx_version": "0.31.0"}, False, "0.31.0"),
        ({"build_mlx_version": "0.32.4", "mlx_version_matches": True}, True, "fits"),
    ],
)
def test_compatibility_is_read_from_the_build_info(change: dict[str, object], compatible: bool, word: str) -> None:
    verdict, message = judge_build_info(FITS | change)
    assert verdict is compatible and word in message


@pytest.mark.component
def test_two_agents_on_one_machine_are_two_macs_and_each_stays_itself(tmp_path: Path) -> None:
    one, again, two = (read_machine(tmp_path / name) for name in ("one", "one", "two"))
    assert one.hardware_id == again.hardware_id != two.hardware_id
    assert one.boot_id == two.boot_id
    assert one.runtime_compatible, one.runtime_message
    assert one.versions["mlx"] != "missing" and one.memory_bytes > 0 and one.chip
