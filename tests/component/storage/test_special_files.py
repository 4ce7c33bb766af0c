"""Pipes, sockets and devices in place of files are refused, without waiting for a pipe's writer."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.component.storage.errors import class_of

from voxfleet_agent.models.model_files import FileDigests, check_contents, check_names, list_files
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.plan.input_clips import list_input_clips
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import Retries
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)))

Make = Callable[[Path], None]


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


def a_device(path: Path) -> None:
    """A terminal without input, so that reading from it would block."""
    path.symlink_to("/dev/ptmx")


def a_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def a_link_outside(path: Path) -> None:
    path.parent.with_name("secret").write_bytes(b"secret")
    path.symlink_to(path.parent.with_name("secret"))


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


every_kind = pytest.mark.parametrize("make", [a_pipe, a_socket, a_device, a_link_to_a_pipe, a_link_outside])


def refused_as(make: Make) -> FailureClass:
    return FailureClass.ACCESS_DENIED if make is a_link_outside else FailureClass.INVALID_INPUT


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def storage(data: Path) -> Storage:
    return Storage([f"{data.as_uri()}/", "file:///dev/"])


@every_kind
async def test_a_special_file_is_refused_by_plan(data: Path, storage: Storage, make: Make) -> None:
    make(data / "x.wav")
    uri = f"file://{data}/x.wav"
    names = await storage.list_names(f"file://{data}/", 10)
    assert "x.wav" in names
    row = await inspect_clip(storage, CONTRACT, 0, InputClip("x", uri))
    assert row.refusal is not None and row.refusal.failure_class is refused_as(make)
    for call in (storage.head(uri), storage.get(uri, 10), storage.open_reader(uri)):
        assert await class_of(call) is refused_as(make)


@every_kind
async def test_a_file_that_became_special_since_plan_is_not_fetched(
    data: Path, storage: Storage, scratch: Path, make: Make
) -> None:
    (data / "x.wav").write_bytes(b"once a file")
    uri = f"file://{data}/x.wav"
    version, reader = await storage.open_reader(uri)
    (data / "x.wav").unlink()
    make(data / "x.wav")

    async def read() -> bytes:
        return reader.read(4)

    assert await class_of(storage.download(uri, scratch / "x", version)) is refused_as(make)
    now_a_link = make not in (a_pipe, a_socket)
    assert await class_of(read()) is (FailureClass.ACCESS_DENIED if now_a_link else FailureClass.INVALID_INPUT)
    assert written(scratch) == b""


@every_kind
async def test_a_special_file_is_refused_as_a_manifest(data: Path, storage: Storage, make: Make) -> None:
    make(data / "manifest.jsonl")
    job_input = JobInput(manifest=ManifestInput(uri=f"file://{data}/manifest.jsonl"))
    call = list_input_clips(storage, Retrier(Retries()), job_input, Task.TRANSCRIBE, f"file://{data}/out")
    assert await class_of(call) is refused_as(make)


async def test_a_pipe_in_scratch_does_not_block(data: Path, storage: Storage, scratch: Path) -> None:
    (data / "x").write_bytes(b"x")
    version = await storage.head(f"file://{data}/x")
    os.mkfifo(scratch / "x")
    call = storage.download(f"file://{data}/x", scratch / "x", version)
    assert await class_of(call) is FailureClass.SCRATCH_EXHAUSTED


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_pipe_is_not_a_file_of_a_model(model: Path) -> None:
    (model / "config.json").unlink()
    a_pipe(model / "config.json")
    with pytest.raises(VoxFleetError, match=r"has no config\.json"):
        check_names("the folder", list_files(model))


def test_a_file_of_a_model_that_becomes_a_pipe_does_not_block(model: Path) -> None:
    names = list_files(model)
    (model / "config.json").unlink()
    a_pipe(model / "config.json")
    with pytest.raises(OSError, match="not a regular file"):
        check_contents("the folder", model, names)
    with pytest.raises(OSError, match="not a regular file"):
        FileDigests().of(model, names)
