from __future__ import annotations

from pathlib import Path

from voxfleet_agent.machine import read_machine


def test_two_agents_on_one_machine_are_two_macs_with_stable_identities(tmp_path: Path) -> None:
    one, again, two = (read_machine(tmp_path / name) for name in ("one", "one", "two"))
    assert one.hardware_id == again.hardware_id != two.hardware_id
    assert one.boot_id == two.boot_id
    assert one.runtime_compatible, one.runtime_message
    assert one.versions["mlx"] != "missing" and one.memory_bytes > 0 and one.chip
