"""Finding, checking and digesting models, on real folders."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.store import ModelStore, builtin_model_folder
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, HubModel, ModelSource

NO_STORAGE = Storage([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), tmp_path / "model"))


def access_below(folder: Path) -> ModelAccess:
    return ModelAccess((folder,), ("voxfleet-tests/*",))


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "cache", 10**9, access_below(tmp_path))


async def digest(folder: Path, models: ModelStore) -> str:
    return (await models.resolve(ModelSource(path=str(folder)), NO_STORAGE)).digest


async def refusal(
    source: ModelSource, models: ModelStore, failure_class: FailureClass = FailureClass.MODEL_UNAVAILABLE
) -> str:
    with pytest.raises(VoxFleetError) as caught:
        await models.resolve(source, NO_STORAGE)
    assert caught.value.failure_class is failure_class
    return caught.value.message


async def test_a_built_in_model_is_the_packaged_one_and_every_file_has_its_sha256(
    folder: Path, models: ModelStore
) -> None:
    model = await models.resolve(ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), NO_STORAGE)
    assert (model.path, model.revision) == (builtin_model_folder(BuiltinName.COMMANDS), None)
    assert model.readable == model.path.resolve()
    assert model.digest == await digest(folder, models)
    assert model.files == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("config.json", "model.safetensors")
    }


async def test_the_digest_is_over_sorted_names_sizes_and_contents(folder: Path, models: ModelStore) -> None:
    whole = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        whole.update(f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    assert await digest(folder, models) == f"sha256:{whole.hexdigest()}"


async def test_a_changed_file_changes_the_digest_and_a_hidden_one_does_not(folder: Path, models: ModelStore) -> None:
    before = await digest(folder, models)
    (folder / ".DS_Store").write_bytes(b"x")
    assert await digest(folder, models) == before
    config = folder / "config.json"
    config.write_bytes(config.read_bytes().replace(b"hello", b"hallo"))
    assert await digest(folder, models) != before


async def test_a_change_within_the_same_tick_of_the_file_systems_clock_is_seen(
    folder: Path, models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, fstat = folder / "config.json", os.fstat
    first: dict[int, os.stat_result] = {}

    def frozen_fstat(file: int) -> os.stat_result:
        facts = fstat(file)
        return first.setdefault(facts.st_ino, facts)

    monkeypatch.setattr("voxfleet_agent.models.model_files.os.fstat", frozen_fstat)
    before = await digest(folder, models)
    config.write_bytes(config.read_bytes().replace(b"hello", b"hallo"))
    assert await digest(folder, models) != before


async def test_a_settled_file_is_read_once(folder: Path, models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    later, sha256 = time.time() + 60, hashlib.sha256
    monkeypatch.setattr("voxfleet_agent.models.model_files.time.time", lambda: later)
    hashes: list[int] = []

    def counted() -> hashlib._Hash:
        hashes.append(1)
        return sha256()

    monkeypatch.setattr("voxfleet_agent.models.model_files.hashlib.sha256", counted)
    before = await digest(folder, models)
    assert len(hashes) == 3  # both files and the digest of the model
    assert await digest(folder, models) == before
    assert len(hashes) == 4


async def test_a_digest_other_than_the_requested_one_is_a_mismatch(folder: Path, models: ModelStore) -> None:
    named = "sha256:" + "0" * 64
    message = await refusal(ModelSource(path=str(folder), digest=named), models, FailureClass.MODEL_MISMATCH)
    assert named in message and await digest(folder, models) in message
    right = await digest(folder, models)
    assert (await models.resolve(ModelSource(path=str(folder), digest=right), NO_STORAGE)).digest == right


async def test_links_within_a_hub_snapshot_count_as_their_files(
    folder: Path, tmp_path: Path, models: ModelStore
) -> None:
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0"
    shutil.copytree(folder, blobs)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    model = await models.resolve(ModelSource(path=str(snapshot)), NO_STORAGE)
    assert model.digest == await digest(folder, models)
    assert model.readable == tmp_path / "models--a--b", "a confined lane reads what the links lead to"


async def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (folder / "vocab.json").symlink_to(tmp_path / "secret.json")
    assert "a link out of it, vocab.json" in await refusal(ModelSource(path=str(folder)), models)
    (folder / "vocab.json").unlink()
    (folder / "voices").symlink_to(tmp_path, target_is_directory=True)
    assert "a link to a folder, voices" in await refusal(ModelSource(path=str(folder)), models)


async def test_a_missing_folder_is_named(tmp_path: Path, models: ModelStore) -> None:
    message = await refusal(ModelSource(path=str(tmp_path / "nowhere")), models)
    assert str(tmp_path / "nowhere") in message and "does not exist" in message


async def test_a_relative_path_is_refused(models: ModelStore) -> None:
    assert "absolute" in await refusal(ModelSource(path="models/x"), models)


async def test_a_folder_without_config(folder: Path, models: ModelStore) -> None:
    (folder / "config.json").unlink()
    assert "no config.json" in await refusal(ModelSource(path=str(folder)), models)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "weights.ckpt", "pytorch_model.BIN"])
@pytest.mark.parametrize("beside", [False, True])
async def test_pickles_are_refused(folder: Path, models: ModelStore, name: str, beside: bool) -> None:
    weights = folder / "model.safetensors"
    if beside:
        shutil.copy(weights, folder / name)  # some families read it even beside safetensors
    else:
        weights.rename(folder / name)
    message = await refusal(ModelSource(path=str(folder)), models)
    assert name in message and ("hold code" in message if beside else ".safetensors" in message)


async def test_a_folder_without_weights(folder: Path, models: ModelStore) -> None:
    (folder / "model.safetensors").unlink()
    assert "has none" in await refusal(ModelSource(path=str(folder)), models)


@pytest.mark.parametrize("name", ["modeling.py", "modeling.PY", "ops.so"])
async def test_code_in_a_model_folder_is_refused(folder: Path, models: ModelStore, name: str) -> None:
    (folder / name).write_text("raise SystemExit\n")
    assert "code from a model folder never runs" in await refusal(ModelSource(path=str(folder)), models)


async def test_settings_that_name_code_of_another_model_are_refused(folder: Path, models: ModelStore) -> None:
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil/code--tokenizer.Evil", None]}}))
    assert "tokenizer_config.json" in await refusal(ModelSource(path=str(folder)), models)
    settings.write_text(json.dumps({"auto_map": {"AutoTokenizer": ["tokenizer.Own", None]}}))
    await digest(folder, models)  # names code that is absent


async def test_settings_that_would_fill_the_memory_or_the_stack_are_refused(folder: Path, models: ModelStore) -> None:
    settings = folder / "tokenizer_config.json"
    settings.write_text("[" * 200_000)
    assert "not JSON" in await refusal(ModelSource(path=str(folder)), models)
    with settings.open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room on the disk
    assert "more than" in await refusal(ModelSource(path=str(folder)), models)


async def test_a_name_of_other_bytes_than_text_is_refused(folder: Path, models: ModelStore) -> None:
    (folder / os.fsdecode(b"voc\xffab.txt")).write_text("x")
    assert "not plain text" in await refusal(ModelSource(path=str(folder)), models)


async def test_no_path_leads_into_the_cache(folder: Path, models: ModelStore, tmp_path: Path) -> None:
    async with Storage([f"file://{folder}/"]) as storage:
        cached = await models.resolve(ModelSource(uri=f"file://{folder}/"), storage)
    assert "lies in the model cache" in await refusal(ModelSource(path=str(cached.path)), models)
    (tmp_path / "beside").symlink_to(cached.path)
    assert "lies in the model cache" in await refusal(ModelSource(path=str(tmp_path / "beside")), models)


async def test_missing_shards_of_weights_are_named(folder: Path, models: ModelStore) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in await refusal(ModelSource(path=str(folder)), models)


async def test_a_broken_link_is_unavailable_and_not_a_crash(folder: Path, models: ModelStore) -> None:
    (folder / "vocab.txt").symlink_to(folder / "gone")
    assert "cannot be read" in await refusal(ModelSource(path=str(folder)), models)


async def test_a_hub_model_that_cannot_be_fetched_says_what_to_do(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = await refusal(ModelSource(hub=HubModel(id="voxfleet-tests/none", revision="main")), models)
    assert "voxfleet-tests/none at main" in message and "use model.path" in message


async def test_two_agents_do_not_share_a_cache(models: ModelStore, tmp_path: Path) -> None:
    source = ModelSource(uri="file:///nowhere/")
    await refusal(source, models)  # opens the cache
    assert "another agent" in await refusal(source, ModelStore(tmp_path / "cache", 10**9, access_below(tmp_path)))


def test_the_built_in_model_ships_with_the_package() -> None:
    assert {"config.json", "model.safetensors"} <= {
        file.name for file in builtin_model_folder(BuiltinName.COMMANDS).iterdir()
    }


def test_a_hub_that_does_not_answer_delays_the_end_of_no_process(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer, ended = threading.Event(), threading.Event(), threading.Event()

    def download(*_: object, **__: object) -> None:
        asked.set()
        answer.wait()

    async def give_up() -> None:
        source = ModelSource(hub=HubModel(id="voxfleet-tests/slow", revision="main"))
        resolving = asyncio.create_task(models.resolve(source, NO_STORAGE))
        await asyncio.to_thread(asked.wait)
        resolving.cancel()
        await asyncio.wait([resolving])

    def run() -> None:
        asyncio.run(give_up())
        ended.set()

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    process = threading.Thread(target=run)
    process.start()
    ended_first = ended.wait(20)
    answer.set()
    process.join()
    assert ended_first
