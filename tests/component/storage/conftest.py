"""Storages on local files and on a real S3 server, a fault proxy and certificates."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import LOOPBACK
from tests.component.storage.proxy import FaultProxy
from tests.rig.loop_guard import files_off_the_loop

from voxfleet_agent.storage import Storage, Timeouts
from voxfleet_api.protocol import S3Credentials
from voxfleet_dev.s3 import S3Server

OpenS3 = Callable[..., Storage]
_NUMBERS = itertools.count()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """`s3://name/` of a bucket that only this test uses."""
    name = f"bucket-{next(_NUMBERS)}"
    s3_server.bucket(name)
    return f"s3://{name}/"


@pytest.fixture
async def open_s3(s3_server: S3Server, bucket: str) -> AsyncIterator[OpenS3]:
    """Opens a Storage on the test's bucket, at the real server or where `endpoint` says."""
    async with AsyncExitStack() as stack:

        def open_storage(endpoint: str | None = None, timeouts: Timeouts | None = None, **changes: str) -> Storage:
            credentials = S3Credentials(
                access_key_id=SecretStr(changes.get("access_key_id", s3_server.access_key_id)),
                secret_access_key=SecretStr(changes.get("secret_access_key", s3_server.secret_access_key)),
                session_token=SecretStr(changes["session_token"]) if "session_token" in changes else None,
                region=changes.get("region"),
                endpoint_url=endpoint or s3_server.endpoint,
            )
            storage = Storage([bucket, "s3://nowhere/"], credentials, LOOPBACK, timeouts)
            stack.push_async_callback(storage.aclose)
            return storage

        yield open_storage


@pytest.fixture
def s3(open_s3: OpenS3) -> Storage:
    return open_s3()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.port) as between:
        yield between


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files no event loop may touch."""
    folder = tmp_path / "data"
    folder.mkdir()
    with files_off_the_loop(folder):
        yield folder


@pytest.fixture
def storage(data: Path) -> Storage:
    return Storage([f"{data.as_uri()}/"])
