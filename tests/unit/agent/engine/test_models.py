"""Finding and digesting models, on real folders."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from voxfleet_agent.engine.models import LocalModels, default_model_folder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import HubModel, ModelSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_model_folder(), tmp_path / "model"))


async def digest(folder: Path, models: LocalModels | None = None) -> str:
    return (await (models or LocalModels()).resolve(ModelSource(path=str(folder)))).digest


async def test_default_is_the_packaged_model(folder: Path) -> None:
    model = await LocalModels().resolve(ModelSource(path="default"))
    assert model.path == default_model_folder()
    assert model.revision is None
    assert model.digest == await digest(folder)


async def test_the_digest_is_over_sorted_names_sizes_and_contents(folder: Path) -> None:
    whole = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        whole.update(f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    assert await digest(folder) == f"sha256:{whole.hexdigest()}"


async def test_a_changed_file_changes_the_digest_and_a_hidden_one_does_not(folder: Path) -> None:
    models = LocalModels()
    before = await digest(folder, models)
    (folder / ".DS_Store").write_bytes(b"x")
    assert await digest(folder, models) == before
    config = folder / "config.json"
    config.write_bytes(config.read_bytes().replace(b"hello", b"hallo"))
    assert await digest(folder, models) != before


async def test_links_to_files_count_as_their_files(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for name in ("config.json", "model.safetensors"):
        (linked / name).symlink_to(folder / name)
    assert await digest(linked) == await digest(folder)


async def _refusal(source: ModelSource) -> str:
    with pytest.raises(VoxFleetError) as caught:
        await LocalModels().resolve(source)
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    return caught.value.message


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    message = await _refusal(ModelSource(path=str(tmp_path / "nowhere")))
    assert str(tmp_path / "nowhere") in message and "does not exist" in message


async def test_a_relative_path_is_refused() -> None:
    assert "absolute" in await _refusal(ModelSource(path="models/x"))


async def test_a_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json" in await _refusal(ModelSource(path=str(folder)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "weights.npz"])
async def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    message = await _refusal(ModelSource(path=str(folder)))
    assert name in message and ".safetensors" in message


async def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "has none" in await _refusal(ModelSource(path=str(folder)))


async def test_code_in_a_model_folder_is_refused(folder: Path) -> None:
    (folder / "modeling.py").write_text("raise SystemExit\n")
    assert "code from a model folder never runs" in await _refusal(ModelSource(path=str(folder)))


async def test_a_broken_link_is_unavailable_and_not_a_crash(folder: Path) -> None:
    (folder / "vocab.txt").symlink_to(folder / "gone")
    assert "cannot be read" in await _refusal(ModelSource(path=str(folder)))


async def test_a_hub_model_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = await _refusal(ModelSource(hub=HubModel(id="voxfleet-tests/none", revision="main")))
    assert "voxfleet-tests/none at main" in message and "use model.path" in message


def test_the_model_ships_with_the_package() -> None:
    assert {"config.json", "model.safetensors"} <= {file.name for file in default_model_folder().iterdir()}
