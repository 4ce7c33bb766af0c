"""The three sources of models: the same tiny models by path, hub id and object address."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.web_server import Page, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import HubModel, ModelSource
from voxfleet_api.kinds.job_task import Transcription

Tiny = Callable[[str], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUOTA_BYTES = 10**9
ACCESS = ModelAccess((Path(tempfile.gettempdir()),), hub=("voxfleet-tests/*", "a/b"))


class CountingStorage(Storage):
    """A real Storage that counts downloads and waits for `gate` before each."""

    def __init__(self, *allow: str) -> None:
        super().__init__(allow)
        self.downloads: list[str] = []
        self.gate, self.begun = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        self.downloads.append(uri)
        self.begun.set()
        await self.gate.wait()
        return await super().download(uri, target, version)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def objects(tmp_path: Path, tiny: Tiny) -> Path:
    """A copy of a model that a test may change."""
    return Path(shutil.copytree(tiny("sensevoice"), tmp_path / "objects" / "sensevoice"))


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    return CountingStorage(f"file://{tmp_path}/objects/")


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS)


def at(folder: Path, digest: str | None = None) -> ModelSource:
    return ModelSource(uri=f"file://{folder}/", digest=digest)


def put_into_hub_cache(folder: Path, cache: Path, hub_id: str) -> None:
    """Uses huggingface_hub's layout: blobs, a snapshot of links to them, and the branch that names the snapshot."""
    repository = cache / "hub" / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for part in (repository / "blobs", repository / "refs", snapshot):
        part.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, repository / "blobs" / f"blob{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{number}")


@pytest.mark.parametrize("family", ["granite_speech5_ctc", "sensevoice", "moonshine"])
async def test_a_model_is_the_same_by_path_hub_and_address(
    family: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tiny(family)
    put_into_hub_cache(folder, tmp_path / "cache", f"voxfleet-tests/{family}")
    models, storage = ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS), Storage([f"file://{folder}/"])
    hub = HubModel(id=f"voxfleet-tests/{family}", revision="main")
    by_path = await models.resolve(ModelSource(path=str(folder)), storage)
    by_hub = await models.resolve(ModelSource(hub=hub), storage)
    by_address = await models.resolve(at(folder), storage)
    assert by_path.digest == by_hub.digest == by_address.digest
    assert by_path.files == by_hub.files == by_address.files
    assert (by_path.revision, by_hub.revision, by_address.revision) == (None, COMMIT, None)
    pinned = ModelSource(hub=HubModel(id=hub.id, revision=COMMIT), digest=by_path.digest)
    assert (await models.resolve(pinned, storage)).path == by_hub.path
    for resolved in (by_hub, by_address):
        assert MlxTranscriber(resolved.path, Transcription(), Timestamps.NONE).family == family


async def test_lanes_read_a_model_of_a_linked_cache_by_its_real_name(
    objects: Path, storage: CountingStorage, tmp_path: Path
) -> None:
    """Lanes are told the name once, when nothing may be asked of a file system any more."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    models = ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS)
    fetched = await models.resolve(at(objects), storage)
    found = await models.resolve(at(objects), storage)
    assert fetched.readable == found.readable == fetched.path.resolve()
    assert fetched.readable.is_relative_to(tmp_path / "disk")


async def test_no_token_of_this_account_goes_to_the_hub(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[object] = []

    def snapshot_download(*_: object, token: object = None, **__: object) -> str:
        asked.append(token)
        raise OSError("no network in tests")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(VoxFleetError):
        await models.resolve(ModelSource(hub=HubModel(id="a/b", revision="main")), Storage([]))
    assert asked == [False, False]


async def test_a_model_at_an_address_is_fetched_once(
    models: ModelStore, objects: Path, storage: CountingStorage
) -> None:
    first = await models.resolve(at(objects), storage)
    assert len(storage.downloads) == 3
    again = await models.resolve(at(objects), storage)
    by_digest = await models.resolve(at(objects, first.digest), storage)
    assert len(storage.downloads) == 3
    assert (again.path, again.digest, again.files) == (by_digest.path, by_digest.digest, by_digest.files)
    assert again.path.name == first.digest.removeprefix("sha256:")


async def test_a_restarted_agent_finds_it_and_hashes_it_again(
    models: ModelStore, objects: Path, storage: CountingStorage, tmp_path: Path
) -> None:
    first = await models.resolve(at(objects), storage)
    models.close()
    restarted = ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS)
    assert (await restarted.resolve(at(objects), storage)).files == first.files
    assert len(storage.downloads) == 3
    restarted.close()
    (first.path / "tokens.json").write_text("[]")  # a damaged disk
    mended = await ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS).resolve(at(objects), storage)
    assert len(storage.downloads) == 6 and mended.digest == first.digest
    assert (mended.path / "tokens.json").read_text() != "[]"


async def test_a_changed_object_is_another_model(models: ModelStore, objects: Path, storage: CountingStorage) -> None:
    first = await models.resolve(at(objects), storage)
    (objects / "tokens.json").write_text("[]")
    second = await models.resolve(at(objects), storage)
    assert second.digest != first.digest and first.path.exists()
    with pytest.raises(VoxFleetError) as caught:
        await models.resolve(at(objects, "sha256:" + "0" * 64), storage)
    assert caught.value.failure_class is FailureClass.MODEL_MISMATCH and second.digest in caught.value.message


async def test_concurrent_callers_share_one_fetch(models: ModelStore, objects: Path, storage: CountingStorage) -> None:
    storage.gate.clear()
    first = asyncio.create_task(models.resolve(at(objects), storage))
    await storage.begun.wait()
    others = [asyncio.create_task(models.resolve(at(objects), storage)) for _ in range(3)]
    first.cancel()  # the next caller takes over
    await asyncio.wait([first])
    storage.gate.set()
    resolved = await asyncio.gather(*others)
    assert len({model.path for model in resolved}) == 1
    assert len(storage.downloads) == 1 + 3
    assert list((resolved[0].path.parents[1] / "incoming").iterdir()) == []


async def test_the_cache_serves_no_job_a_model_that_it_may_not_read(
    models: ModelStore, objects: Path, storage: CountingStorage
) -> None:
    digest = (await models.resolve(at(objects), storage)).digest
    for source in (at(objects), at(objects, digest)):
        with pytest.raises(VoxFleetError, match=r"model\.uri") as caught:
            await models.resolve(source, Storage([]))
        assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE


async def test_naming_a_digest_grants_no_access_to_its_model(
    models: ModelStore, objects: Path, storage: CountingStorage
) -> None:
    private = await models.resolve(at(objects), storage)
    own = Path(shutil.copytree(objects, objects.parent / "own"))
    (own / "tokens.json").write_text("[]")
    with pytest.raises(VoxFleetError) as caught:
        await models.resolve(at(own, private.digest), storage)
    assert caught.value.failure_class is FailureClass.MODEL_MISMATCH


class Elsewhere(CountingStorage):
    """Behaves as if the same addresses belonged to another S3 endpoint."""

    def origin(self, uri: str) -> str:
        return f"elsewhere {uri}"


async def test_a_model_from_another_endpoint_is_not_used_for_this_one(
    models: ModelStore, objects: Path, storage: CountingStorage, tmp_path: Path
) -> None:
    """An endpoint can state any name, size and ETag."""
    elsewhere = Elsewhere(f"file://{tmp_path}/objects/")
    await models.resolve(at(objects), elsewhere)
    await models.resolve(at(objects), storage)
    assert len(storage.downloads) == 3


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda folder: (folder / "modeling.py").write_text("raise SystemExit"), "modeling.py"),
        (lambda folder: (folder / "model.pt").write_bytes(b"x"), "model.pt"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has none"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: shutil.rmtree(folder), "config.json"),
    ],
)
async def test_objects_that_are_not_a_model_are_not_fetched(
    models: ModelStore, objects: Path, storage: CountingStorage, break_it: Callable[[Path], object], named: str
) -> None:
    break_it(objects)
    with pytest.raises(VoxFleetError, match=named) as caught:
        await models.resolve(at(objects), storage)
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert storage.downloads == []


@pytest.fixture
def web(authority: Authority, objects: Path) -> Iterator[WebServer]:
    """A plain web server, which lists nothing, with a model and its SHA256SUMS."""
    with WebServer(authority) as server:
        for file in objects.iterdir():
            server.pages[f"/models/tiny/{file.name}"] = Page(file.read_bytes(), etag=f'"{file.name}"')
        sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in objects.iterdir())
        server.pages["/models/tiny/SHA256SUMS"] = Page(sums.encode())
        yield server


async def test_a_model_comes_from_a_plain_https_server(
    models: ModelStore, objects: Path, web: WebServer, authority: Authority
) -> None:
    source = ModelSource(uri=web.url("/models/tiny/"))
    trusted = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    async with Storage([web.url("/models/")], None, trusted) as storage:
        first = await models.resolve(source, storage)
        assert first.digest == (await models.resolve(ModelSource(path=str(objects)), storage)).digest
        web.asked.clear()
        assert (await models.resolve(source, storage)).path == first.path
        assert not [
            asked
            for asked in web.asked
            if asked.method == "GET" and "safetensors" in asked.target and "range" not in asked.headers
        ]
        page = web.pages["/models/tiny/tokens.json"]
        web.pages["/models/tiny/tokens.json"] = Page(page.content[:-1] + b" ", etag='"other"')
        with pytest.raises(VoxFleetError, match=r"tokens\.json is not the file that SHA256SUMS lists") as caught:
            await models.resolve(source, storage)
        assert caught.value.failure_class is FailureClass.MODEL_MISMATCH
        web.pages["/models/tiny/SHA256SUMS"] = Page(b"0  ../../etc/passwd")
        with pytest.raises(VoxFleetError, match="sha256sum"):
            await models.resolve(source, storage)
        web.pages["/models/tiny/SHA256SUMS"] = Page(b"0" * 64 + b"  ../../etc/passwd")
        with pytest.raises(VoxFleetError, match="leads out of it"):
            await models.resolve(source, storage)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("config.json/x.json", "a file and a folder of one name"),
        ("x/" * 16 + "x.json", "too long"),
        ("x" * 256, "too long"),
        ("ü" * 128, "too long"),
        ("a\tb.json", "not plain text"),
    ],
)
async def test_impossible_file_names_are_a_failure_of_the_model(
    models: ModelStore, web: WebServer, authority: Authority, name: str, named: str
) -> None:
    """They must not count as a failure of this Mac's disk, which another Mac would retry."""
    sums = web.pages["/models/tiny/SHA256SUMS"]
    web.pages["/models/tiny/SHA256SUMS"] = Page(sums.content + f"{'0' * 64}  {name}\n".encode())
    trusted = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    async with Storage([web.url("/models/")], None, trusted) as storage:
        with pytest.raises(VoxFleetError, match=named) as caught:
            await models.resolve(ModelSource(uri=web.url("/models/tiny/")), storage)
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE


async def test_hidden_objects_are_not_part_of_the_model(
    models: ModelStore, objects: Path, storage: CountingStorage
) -> None:
    before = await models.resolve(ModelSource(path=str(objects)), storage)
    (objects / ".git").mkdir()
    (objects / ".git" / "config.py").write_text("x")
    assert (await models.resolve(at(objects), storage)).digest == before.digest


def size_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


async def test_the_least_recently_used_is_evicted_and_models_in_use_stay(
    tmp_path: Path, objects: Path, storage: CountingStorage
) -> None:
    copies = []
    for number in range(3):
        copy = Path(shutil.copytree(objects, objects.parent / f"copy{number}"))
        (copy / "tokens.json").write_text(f'["{number}"]')
        copies.append(copy)
    room_for_two = 2 * size_bytes(copies[0]) + 100
    models = ModelStore(tmp_path / "cache", room_for_two, ACCESS)
    held: list[ResolvedModel] = [await models.resolve(at(copies[0]), storage)]
    forgotten = (await models.resolve(at(copies[1]), storage)).path
    gc.collect()
    await models.resolve(at(copies[2]), storage)
    assert held[0].path.exists() and not forgotten.exists()  # the older one is in use
    held.append(await models.resolve(at(copies[2]), storage))
    with pytest.raises(VoxFleetError, match="are in use") as caught:
        await models.resolve(at(copies[1]), storage)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    held.clear()
    gc.collect()
    assert (await models.resolve(at(copies[1]), storage)).path.exists()
    assert size_bytes(tmp_path / "cache" / "models") <= room_for_two


async def test_a_model_larger_than_the_quota_is_refused_before_it_is_fetched(
    tmp_path: Path, objects: Path, storage: CountingStorage
) -> None:
    with pytest.raises(VoxFleetError, match=f"{size_bytes(objects)} bytes and modelCache.quota is 1000") as caught:
        await ModelStore(tmp_path / "cache", 1000).resolve(at(objects), storage)
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE and storage.downloads == []


async def test_partial_fetches_of_a_killed_agent_are_removed(
    tmp_path: Path, objects: Path, storage: CountingStorage
) -> None:
    left = tmp_path / "cache" / "incoming" / "left" / "model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    await ModelStore(tmp_path / "cache", QUOTA_BYTES, ACCESS).resolve(at(objects), storage)
    assert not left.exists()
