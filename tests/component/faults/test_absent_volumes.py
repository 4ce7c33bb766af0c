"""A volume that is not mounted leaves an empty folder in its place, which nothing may fill or take for empty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.component.standalone.conftest import EXAMPLES, Home
from tests.rig.absent_volume import absent_volume
from tests.rig.agent_config import write_agent_config
from tests.rig.loop_guard import files_off_the_loop

from voxfleet_agent import ledger, logs
from voxfleet_agent.config import AgentConfig, ConfigError
from voxfleet_agent.daemon import open_agent
from voxfleet_agent.doctor.finding import Health
from voxfleet_agent.doctor.volumes import check_volumes
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.standalone.rerun_clips import private_folder
from voxfleet_agent.standalone.run_session import RunRefused
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinModel, HubModel, ModelSource

WAIT_SECONDS = 10.0


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    with absent_volume(tmp_path) as mount_point:
        yield mount_point


def is_empty(folder: Path) -> bool:
    return list(folder.iterdir()) == []


def agent_config(folder: Path, **changes: object) -> AgentConfig:
    content = yaml.safe_load(write_agent_config(folder).read_text())
    return AgentConfig.load({**content, **changes})


CALLS: dict[str, Callable[[Storage, str], Awaitable[object]]] = {
    "head": lambda storage, folder: storage.head(f"file://{folder}/a.wav"),
    "exists": lambda storage, folder: storage.exists(f"file://{folder}/a.wav"),
    "get": lambda storage, folder: storage.get(f"file://{folder}/a.wav", 100),
    "open_reader": lambda storage, folder: storage.open_reader(f"file://{folder}/a.wav"),
    "put": lambda storage, folder: storage.put(f"file://{folder}/out/a.json", b"{}"),
    "put_once": lambda storage, folder: storage.put_once(f"file://{folder}/out/a.json", b"{}"),
    "list_names": lambda storage, folder: storage.list_names(f"file://{folder}/", 10),
    "remove_unfinished": lambda storage, folder: storage.remove_unfinished(f"file://{folder}/"),
    "call_at": lambda storage, folder: storage.call_at(f"{folder}/model", lambda: 3),
}


@pytest.mark.parametrize("spelling", ["volume", "link"])
@pytest.mark.parametrize("call", CALLS)
async def test_no_call_takes_an_empty_mount_point_for_its_volume(
    call: str, spelling: str, volume: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("volume")
    folder = tmp_path / spelling
    with files_off_the_loop(volume):
        async with Storage([f"file://{folder}/"]) as storage:
            with pytest.raises(VoxFleetError, match=f"the volume {volume} is not mounted; mount it") as caught:
                await CALLS[call](storage, str(folder))
    assert caught.value.failure_class is FailureClass.TRANSPORT
    assert is_empty(volume)


async def test_what_lies_elsewhere_is_still_read(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.wav").write_bytes(b"sound")
    async with Storage([f"file://{volume}/", f"file://{tmp_path}/disk/"]) as storage:
        assert await storage.get(f"file://{tmp_path}/disk/a.wav", 100) == b"sound"


async def test_an_agent_starts_and_warns_of_the_folders_that_it_cannot_use(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    config = agent_config(
        tmp_path,
        allow=[f"file://{volume}/calls/", f"file://{tmp_path}/disk/"],
        models={"folders": [str(volume / "models")]},
    )
    ledger.create_key_file(config.ledger_key_file)
    warned: asyncio.Queue[str] = asyncio.Queue()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = record.msg
            if isinstance(event, dict) and event["event"] == "attempts that need this folder will fail":
                assert str(volume) in event["reason"]
                warned.put_nowait(event["folder"])

    logs.configure()
    listener = Listener()
    logging.getLogger().addHandler(listener)
    try:
        async with open_agent(config):
            async with asyncio.timeout(WAIT_SECONDS):
                found = {await warned.get(), await warned.get()}
    finally:
        logging.getLogger().removeHandler(listener)
    assert found == {f"{volume}/calls", f"{volume}/models"} and warned.empty()


OWN_FOLDERS: dict[str, Callable[[Path], dict[str, object]]] = {
    "scratch.path": lambda volume: {"scratch": {"path": f"{volume}/scratch", "quota": "1Gi"}},
    "stateDir": lambda volume: {"stateDir": f"{volume}/state"},
    "modelCache.path": lambda volume: {"modelCache": {"path": f"{volume}/models"}},
}


@pytest.mark.parametrize("option", OWN_FOLDERS)
async def test_an_agent_does_not_start_without_a_volume_of_its_own(option: str, volume: Path, tmp_path: Path) -> None:
    config = agent_config(tmp_path, **OWN_FOLDERS[option](volume))
    ledger.create_key_file(config.ledger_key_file)
    with pytest.raises(ConfigError, match=f"{option}: the volume {volume} is not mounted"):
        async with open_agent(config):
            pass
    assert is_empty(volume)


RUN_FOLDERS = {
    "scratch": "TMPDIR",
    "state": "XDG_STATE_HOME",
    "model cache": "XDG_CACHE_HOME",
    "quarantine": "MLX_AUDIO_QUARANTINE_DIR",
}


@pytest.mark.parametrize("name", RUN_FOLDERS)
def test_a_run_makes_no_folder_in_a_volumes_place(name: str, volume: Path, tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "cache")
    job = home.job("absent", EXAMPLES / "clips")
    before = sorted(tmp_path.rglob("*"))
    ended = home.invoke("run", "-f", job, **{RUN_FOLDERS[name]: str(volume / "own")})
    assert ended.returncode == 1 and f"{name}: the volume {volume} is not mounted" in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_with_an_agents_configuration_needs_the_volume_of_its_state(volume: Path, tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "cache")
    job = home.job("absent", EXAMPLES / "clips")
    config = yaml.safe_load(write_agent_config(tmp_path).read_text())
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump({**config, "stateDir": f"{volume}/state"}))
    ended = home.invoke("run", "-f", job, "-c", tmp_path / "agent.yaml")
    assert ended.returncode == 1 and f"stateDir: the volume {volume} is not mounted" in ended.stderr
    assert is_empty(volume)


def test_a_run_writes_no_output_in_a_volumes_place(volume: Path, tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "cache")
    job = home.job("absent", EXAMPLES / "clips", job={"output": {"uri": f"file://{volume}/out/"}})
    ended = home.invoke("run", "-f", job)
    assert ended.returncode == 2 and f"spec.output.uri: the volume {volume} is not mounted" in ended.stderr
    assert is_empty(volume)


def test_clips_are_not_run_again_in_a_volumes_place(volume: Path) -> None:
    with pytest.raises(RunRefused, match=f"the volume {volume} is not mounted"), private_folder(volume / "scratch"):
        pass
    assert is_empty(volume)


async def test_models_are_not_fetched_into_a_volumes_place(volume: Path) -> None:
    models = ModelStore(volume / "models", 2**30, ModelAccess(hub=["owner/*"]))
    async with Storage([]) as storage:
        await models.resolve(ModelSource(builtin=BuiltinModel(name="commands")), storage)
        with pytest.raises(VoxFleetError, match=f"modelCache.path: the volume {volume} is not mounted") as caught:
            await models.resolve(ModelSource(hub=HubModel(id="owner/name", revision="0" * 40)), storage)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    assert is_empty(volume)


def test_doctor_does_not_take_an_empty_mount_point_for_a_volume(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    config = agent_config(tmp_path, allow=[f"file://{folder}/" for folder in (volume, tmp_path / "disk")])
    found = [finding for finding in check_volumes(config) if finding.name == "allow"]
    assert [finding.health for finding in found] == [Health.FAIL, Health.OK]
    assert str(volume) in found[0].found
