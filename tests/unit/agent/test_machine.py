from __future__ import annotations

import pytest

from voxfleet_agent.machine import check_build_info

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
    verdict, message = check_build_info(FITS | change)
    assert verdict is compatible and word in message
