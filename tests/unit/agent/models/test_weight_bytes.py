"""The least memory that a model's weights take, which tells whether a Mac's lanes can be too small for it."""

from __future__ import annotations

import json
from pathlib import Path

from voxfleet_agent.models.model_files import least_weight_bytes


def write(folder: Path, **sizes: int) -> None:
    for name, size in sizes.items():
        (folder / f"{name}.safetensors").write_bytes(b"x" * size)


def index(folder: Path, *names: str) -> None:
    weights = {f"tensor.{number}": f"{name}.safetensors" for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def test_of_several_sets_of_weights_the_largest_counts(tmp_path: Path) -> None:
    write(tmp_path, model=100, vocoder=30)
    (tmp_path / "config.json").write_text("{}")
    assert least_weight_bytes(tmp_path) == 100


def test_the_files_of_a_split_model_count_together_and_each_once(tmp_path: Path) -> None:
    write(tmp_path, one=60, two=50, other=80)
    index(tmp_path, "one", "two", "one", "missing")
    assert least_weight_bytes(tmp_path) == 110


def test_an_index_that_lists_nothing_counts_nothing(tmp_path: Path) -> None:
    write(tmp_path, model=7)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    assert least_weight_bytes(tmp_path) == 7
