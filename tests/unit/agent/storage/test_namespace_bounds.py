"""A storage that is bounded by a namespace: addresses, links, writes and lists, each inside both lists of prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.addresses import parse_address
from voxfleet_agent.stages.process.shard_clips import require_shared_input
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_agent.storage.local_files import LocalFiles
from voxfleet_agent.storage.mounts import Mounts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Retries
from voxfleet_api.rows import ManifestRow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for team in ("mine", "theirs", "shared"):
        (tmp_path / "data" / team).mkdir(parents=True)
        (tmp_path / "data" / team / "a.wav").write_bytes(team.encode())
    (tmp_path / "data" / "mine" / "link.wav").symlink_to(tmp_path / "data" / "theirs" / "a.wav")
    (tmp_path / "data" / "mine" / "shared.wav").symlink_to(tmp_path / "data" / "shared" / "a.wav")
    (tmp_path / "data" / "mine" / "folder").symlink_to(tmp_path / "data" / "theirs")
    return tmp_path / "data"


def mine(data: Path, *others: str) -> Storage:
    opened = [f"file://{data}/{folder}/" for folder in ("mine", *others)]
    return Storage([f"file://{data}/"], namespace=opened)


async def denied(data: Path, storage: Storage, name: str) -> str:
    with pytest.raises(VoxFleetError) as caught:
        await storage.get(f"file://{data}/{name}", 100)
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED
    return caught.value.message


async def test_reads_stay_within_the_namespace(data: Path) -> None:
    storage = mine(data, "shared")
    assert await storage.get(f"file://{data}/mine/a.wav", 100) == b"mine"
    assert await storage.get(f"file://{data}/mine/shared.wav", 100) == b"shared"
    for name in ("theirs/a.wav", "mine/link.wav", "mine/folder/a.wav", "mine/../theirs/a.wav"):
        message = await denied(data, storage, name)
        assert str(data) not in message and (".." in name or "spec.access of the MacAgent" in message)
    assert "`allow`" in await denied(data, Storage([f"file://{data}/theirs/"], namespace=["file:///"]), "mine/a.wav")


async def test_lists_writes_and_sweeps_stay_within_the_namespace(data: Path) -> None:
    storage = mine(data)
    for call in (
        storage.put(f"file://{data}/mine/folder/x", b"x"),
        storage.put_once(f"file://{data}/theirs/x", b"x"),
        storage.list_objects(f"file://{data}/mine/folder/", 10),
        storage.remove_unfinished(f"file://{data}/mine/folder/"),
        storage.open_reader(f"file://{data}/mine/link.wav"),
    ):
        with pytest.raises(VoxFleetError) as caught:
            await call
        assert caught.value.failure_class is FailureClass.ACCESS_DENIED
    assert [path.name for path in (data / "theirs").iterdir()] == ["a.wav"]
    await storage.put(f"file://{data}/mine/deeper/x", b"x")
    assert (data / "mine" / "deeper" / "x").read_bytes() == b"x"


async def test_a_folder_of_the_namespace_may_be_a_link_but_not_out_of_the_agents_own(data: Path) -> None:
    outside = data.parent / "outside"
    outside.mkdir()
    (outside / "a.wav").write_bytes(b"outside")
    (data / "alias").symlink_to(data / "mine")
    (data / "exit").symlink_to(outside)
    storage = Storage([f"file://{data}/"], namespace=[f"file://{data}/alias/", f"file://{data}/exit/"])
    assert await storage.get(f"file://{data}/alias/a.wav", 100) == b"mine"
    assert "outside what this agent may touch" in await denied(data, storage, "exit/a.wav")


async def test_what_a_namespace_may_touch_can_change(data: Path) -> None:
    storage = mine(data)
    storage.renew_namespace([f"file://{data}/theirs/"])
    assert await storage.get(f"file://{data}/theirs/a.wav", 100) == b"theirs"
    assert "spec.access" in await denied(data, storage, "mine/a.wav")


async def test_it_can_change_between_the_steps_of_one_call(data: Path) -> None:
    files = LocalFiles([str(data)], Mounts(), [f"{data}/mine"])
    address = parse_address(f"file://{data}/mine/a.wav")  # checked before the change
    assert (await files.head(address)).size_bytes == 4
    files.renew_namespace([f"{data}/theirs"])
    with pytest.raises(VoxFleetError, match="no longer open") as caught:
        await files.head(address)
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED


async def test_other_schemes_are_bounded_too() -> None:
    storage = Storage(["s3://calls/", "https://host/"], namespace=["s3://calls/mine/", "https://host/mine/"])
    for uri in ("s3://calls/mine/a", "https://host/mine/a"):
        storage.check(uri)
    for uri in ("s3://calls/theirs/a", "https://host/theirs/a", "https://host/mine/%2e%2e/theirs/a"):
        with pytest.raises(VoxFleetError) as caught:  # and not for lack of credentials or of such a host
            await storage.head(uri)
        assert caught.value.failure_class is FailureClass.ACCESS_DENIED
        assert "spec.access of the MacAgent" in caught.value.message or ".." in caught.value.message


async def test_anothers_clips_say_nothing_about_whether_this_mac_sees_the_input(data: Path) -> None:
    def row(index: int, name: str) -> ManifestRow:
        return ManifestRow(index=index, custom_id=name, uri=f"file://{data}/{name}")

    def spend(_: FailureClass) -> None:
        raise AssertionError("nothing is retried")

    rows = {index: row(index, f"theirs/{index}.wav") for index in range(20)}
    await require_shared_input(mine(data), Retrier(Retries(), spend), rows)
