"""Which models an agent loads: those that it is told to, and no message says what a refused folder holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.store import ModelStore, builtin_model_folder
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, HubModel, ModelSource

NO_STORAGE = Storage(())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), tmp_path / "models" / "mine")
    return tmp_path / "models"


async def loads(source: ModelSource, access: ModelAccess, tmp_path: Path, storage: Storage = NO_STORAGE) -> str:
    """The reason of the refusal; empty when the model was loaded."""
    try:
        await ModelStore(tmp_path / "cache", 10**9, access).resolve(source, storage)
    except VoxFleetError as error:
        return f"{error.message}" if error.failure_class is FailureClass.RUNTIME_MISMATCH else repr(error)
    return ""


async def test_without_a_rule_only_the_shipped_model_is_loaded(tmp_path: Path, models: Path) -> None:
    nothing = ModelAccess()
    assert await loads(ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), nothing, tmp_path) == ""
    by_path = await loads(ModelSource(path=str(models / "mine")), nothing, tmp_path)
    assert "models.folders" in by_path and str(models / "mine") in by_path
    by_hub = await loads(ModelSource(hub=HubModel(id="a/b", revision="main")), nothing, tmp_path)
    assert "add a/b or a/* to models.hub" in by_hub


async def test_a_refused_folder_is_not_looked_into(tmp_path: Path) -> None:
    for path in ("/etc/ssl", "/etc/ssl/certs", str(tmp_path / "nowhere"), "/", "/root"):
        message = await loads(ModelSource(path=path), ModelAccess(), tmp_path)
        assert message == (await loads(ModelSource(path="/x"), ModelAccess(), tmp_path)).replace("/x", path)


async def test_folders_are_allowed_by_models_folders_and_by_the_storages_prefixes(tmp_path: Path, models: Path) -> None:
    mine = ModelSource(path=str(models / "mine"))
    assert await loads(mine, ModelAccess((models,)), tmp_path) == ""
    assert await loads(mine, ModelAccess((models / "mine",)), tmp_path) == ""
    assert await loads(mine, ModelAccess(), tmp_path, Storage([f"file://{models}/"])) == ""
    for beside in (models / "min", models / "mine" / "deeper", tmp_path / "other"):
        beside.mkdir()
        assert "models.folders" in await loads(mine, ModelAccess((beside,)), tmp_path)


async def test_a_namespace_bounds_what_the_storages_prefixes_open(tmp_path: Path, models: Path) -> None:
    mine, prefix = ModelSource(path=str(models / "mine")), f"file://{tmp_path}/"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "linked").symlink_to(models / "mine")
    linked = ModelSource(path=str(tmp_path / "theirs" / "linked"))
    for source, opened, allowed in (
        (mine, f"file://{models}/", True),
        (mine, f"file://{tmp_path}/theirs/", False),
        (linked, f"file://{tmp_path}/theirs/", False),
        (linked, f"file://{tmp_path}/", True),
    ):
        bounded = Storage([prefix], namespace=[opened])
        assert ("models.folders" not in await loads(source, ModelAccess(), tmp_path, bounded)) is allowed
        assert await loads(source, ModelAccess((models,)), tmp_path, bounded) == "", "models.folders is for all"


async def test_links_are_followed_before_the_rule_is_asked(tmp_path: Path, models: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "out").symlink_to(models / "mine")
    assert "models.folders" in await loads(ModelSource(path=str(allowed / "out")), ModelAccess((allowed,)), tmp_path)
    (tmp_path / "link").symlink_to(models)
    assert await loads(ModelSource(path=str(models / "mine")), ModelAccess((tmp_path / "link",)), tmp_path) == ""
    by_link = Storage([f"file://{tmp_path / 'link'}/"])
    assert await loads(ModelSource(path=str(tmp_path / "link" / "mine")), ModelAccess(), tmp_path, by_link) == ""
    for outside in (models / "mine", tmp_path / "link" / ".." / "other", allowed / "outside"):
        assert "models.folders" in await loads(ModelSource(path=str(outside)), ModelAccess(), tmp_path, by_link)
    dotted = f"{allowed}/../models/mine"
    assert "models.folders" in await loads(ModelSource(path=dotted), ModelAccess((allowed,)), tmp_path)


async def test_no_model_overlaps_the_agents_own_folders(tmp_path: Path, models: Path) -> None:
    state = models / "mine" / "state"
    state.mkdir()
    access = ModelAccess((tmp_path,), own_folders=(state,))
    for path in (models / "mine", models, state, state / "runs"):
        assert "folders of the agent itself" in await loads(ModelSource(path=str(path)), access, tmp_path)
    assert await loads(ModelSource(path=str(models / "mine")), ModelAccess((tmp_path,)), tmp_path) == ""


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("mlx-community/whisper", True),
        ("mlx-community/*", True),
        ("mlx-community/whisp", False),
        ("MLX-community/*", False),
        ("mlx/*", False),
    ],
)
def test_hub_models_are_named_or_all_of_an_owner(pattern: str, *, allowed: bool) -> None:
    access = ModelAccess(hub=(pattern,))
    if allowed:
        access.require_hub("mlx-community/whisper")
        return
    with pytest.raises(VoxFleetError, match=r"models\.hub"):
        access.require_hub("mlx-community/whisper")


def test_a_folder_that_matches_as_written_needs_no_other_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = os.path.realpath

    def resolved(path: Path | str) -> str:
        assert "dead" not in str(path), "this mount hangs"
        return resolve(path)

    monkeypatch.setattr(os.path, "realpath", resolved)
    access = ModelAccess(folders=(tmp_path / "dead", tmp_path / "models"))
    access.require_folder(tmp_path / "models" / "speech", Storage([]))
