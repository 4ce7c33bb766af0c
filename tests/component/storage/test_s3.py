"""Storage on a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from pathlib import Path
from urllib.parse import quote

import httpcore2
import pytest
from pydantic import SecretStr
from tests.component.storage.certificates import Authority
from tests.component.storage.conftest import OpenS3
from tests.component.storage.errors import LOOPBACK, class_of, error_of
from tests.component.storage.proxy import FaultProxy, InTurn, Request, Status

from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_agent.storage import s3 as s3_module
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials
from voxfleet_dev.s3 import S3Server

ODD = "deep/a b#1%20+&=;,@:!$'()*~?ü 日本\"<>[]{}|^`\\.wav"


async def test_put_get_head_and_list(s3: Storage, bucket: str) -> None:
    await s3.put(f"{bucket}{ODD}", b"one")
    await s3.put(f"{bucket}{ODD}", b"three")
    assert await s3.get(f"{bucket}{ODD}", 5) == b"three"
    version = await s3.head(f"{bucket}{ODD}")
    assert version == ObjectVersion(5, f'"{hashlib.md5(b"three", usedforsecurity=False).hexdigest()}"')
    assert await s3.exists(f"{bucket}{ODD}")
    assert not await s3.exists(f"{bucket}nope")
    await s3.put(f"{bucket}deeper", b"")
    assert await s3.list_names(bucket, 10) == [ODD, "deeper"]
    assert await s3.list_names(f"{bucket}deep/", 10) == [ODD.removeprefix("deep/")]
    assert await s3.list_names(f"{bucket}nope/", 10) == []


@pytest.mark.parametrize(
    "key",
    [
        "a b", "a+b", "a%20b", "100%", "..a/b..", "a/...", " a ", "ü/日本/\U0001f600",
        "u\u0308", "a\tb", "-", "~", "*", "a;b=c", "@:$,!'()", "x" * 200,
    ],
)  # fmt: skip
async def test_keys_are_taken_literally(s3: Storage, bucket: str, key: str) -> None:
    await s3.put_once(f"{bucket}{key}", key.encode())
    assert await s3.get(f"{bucket}{key}", 1000) == key.encode()
    assert await s3.list_names(bucket, 10) == [key]


HOSTILE_KEYS = ["/a", "a//b", "a/../b", "../b", "./a", "a/%2e%2e/b", "a%2Fb", "a/..;x/b", "a\\b", "a/.", "//x", "a%00"]


@pytest.mark.parametrize("key", HOSTILE_KEYS)
async def test_keys_that_look_hostile_are_read_as_they_are(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, key: str
) -> None:
    """The gateway makes a path of the key, but its signature must be right for the key as it is."""
    storage = open_s3(proxy.endpoint)
    assert await class_of(storage.get(f"{bucket}{key}", 1)) in (
        FailureClass.INPUT_NOT_FOUND,
        FailureClass.INVALID_INPUT,
    )
    (request,) = {request.target for request in proxy.requests}
    assert request == f"/{bucket.removeprefix('s3://')}{quote(key, safe='/~')}"


@pytest.mark.parametrize("key", ["/a", "a//b", "a/../b", "../b", "./a", "a/."])
async def test_no_output_has_such_a_key(open_s3: OpenS3, bucket: str, proxy: FaultProxy, key: str) -> None:
    """A server that keeps keys as paths would write elsewhere."""
    storage = open_s3(proxy.endpoint)
    for call in (storage.put_once(f"{bucket}{key}", b"x"), storage.put(f"{bucket}{key}", b"x")):
        assert await class_of(call) is FailureClass.ACCESS_DENIED
    assert proxy.requests == []


async def test_renewed_credentials_sign_the_rest_of_an_upload(
    open_s3: OpenS3, s3_server: S3Server, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key ends while a part is under way: what was signed with it is refused, and sent again."""
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 5 * 2**20)
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)
    content = os.urandom(5 * 2**20 + 1000)
    storage = open_s3(proxy.endpoint)
    with S3Server(s3_server.directory) as renewed:
        credentials = S3Credentials(
            access_key_id=SecretStr(renewed.access_key_id),
            secret_access_key=SecretStr(renewed.secret_access_key),
            endpoint_url=proxy.endpoint,
        )

        def revoke(request: Request) -> None:
            if "partNumber=2" in request.target and request.number == 0:
                storage.renew_credentials(credentials)
                proxy.switch(renewed.port)

        proxy.plan = revoke
        await storage.put(f"{bucket}x", content)
        assert await storage.get(f"{bucket}x", len(content)) == content
        proxy.switch(s3_server.port)


@pytest.mark.parametrize("field", ["access_key_id", "region"])
async def test_invalid_renewed_credentials_fail_like_a_first_attempt_s(bucket: str, field: str) -> None:
    good = S3Credentials(
        access_key_id=SecretStr("key"), secret_access_key=SecretStr("secret"), endpoint_url="https://s3.example.com"
    )
    value = SecretStr("two\nlines") if field == "access_key_id" else "two\nlines"
    bad = good.model_copy(update={field: value})
    async with Storage([bucket], good) as renewed, Storage([bucket], bad) as first:
        renewed.origin(f"{bucket}x")  # opens the endpoint
        renewed.renew_credentials(bad)
        for storage in (renewed, first):
            assert await class_of(storage.get(f"{bucket}x", 10)) is FailureClass.ACCESS_DENIED


async def test_an_empty_object_is_an_object(s3: Storage, bucket: str, scratch: Path) -> None:
    await s3.put_once(f"{bucket}empty", b"")
    version, reader = await s3.open_reader(f"{bucket}empty")
    assert version.size_bytes == 0
    assert await asyncio.to_thread(reader.read, 10) == b""
    assert await s3.get(f"{bucket}empty", 0) == b""
    assert await s3.download(f"{bucket}empty", scratch / "x", version) == hashlib.sha256(b"").hexdigest()


async def test_put_once_keeps_what_is_there(s3: Storage, bucket: str) -> None:
    await s3.put_once(f"{bucket}x", b"one")
    await s3.put_once(f"{bucket}x", b"one")
    for other in (b"two", b"longer"):
        assert await class_of(s3.put_once(f"{bucket}x", other)) is FailureClass.MACHINE_LOST
    assert await s3.get(f"{bucket}x", 10) == b"one"


async def test_of_two_that_create_at_once_one_wins(s3: Storage, bucket: str) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    results = await asyncio.gather(
        *(s3.put_once(f"{bucket}x", content) for content in contents), return_exceptions=True
    )
    winners = [content for content, result in zip(contents, results, strict=True) if result is None]
    assert winners == [await s3.get(f"{bucket}x", 100_000)]


async def test_download_takes_one_version_and_gives_its_sha256(s3: Storage, bucket: str, scratch: Path) -> None:
    content = os.urandom(3_000_000)
    await s3.put(f"{bucket}x", content)
    version = await s3.head(f"{bucket}x")
    assert await s3.download(f"{bucket}x", scratch / "copy", version) == hashlib.sha256(content).hexdigest()
    assert (scratch / "copy").read_bytes() == content
    await s3.put(f"{bucket}x", content[::-1])
    assert await class_of(s3.download(f"{bucket}x", scratch / "copy", version)) is FailureClass.INPUT_CHANGED


async def test_a_reader_sees_any_part_of_one_version(s3: Storage, bucket: str) -> None:
    content = os.urandom(200_000)
    await s3.put(f"{bucket}x", content)
    version, reader = await s3.open_reader(f"{bucket}x")
    assert version == await s3.head(f"{bucket}x")
    for offset, size in [(0, 12), (8, 4), (199_990, 100), (70_000, 100_000), (0, 1), (200_000, 5), (300_000, 5)]:
        assert reader.seek(offset) == offset
        assert await asyncio.to_thread(reader.read, size) == content[offset : offset + size]
    await s3.put(f"{bucket}x", content[::-1])
    reader.seek(150_000)
    assert await class_of(asyncio.to_thread(reader.read, 1)) is FailureClass.INPUT_CHANGED


async def test_the_version_and_the_head_of_a_clip_cost_one_request(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy
) -> None:
    storage = open_s3(proxy.endpoint)
    await storage.put(f"{bucket}x", b"RIFF" * 50_000)
    proxy.requests.clear()
    _, reader = await storage.open_reader(f"{bucket}x")
    assert await asyncio.to_thread(reader.read, 60_000) == b"RIFF" * 15_000
    assert len(proxy.requests) == 1


async def test_more_names_than_one_answer_holds(s3: Storage, bucket: str, s3_server: S3Server) -> None:
    folder = s3_server.bucket(bucket.removeprefix("s3://").strip("/")) / "many"
    folder.mkdir()
    for number in range(1_234):
        (folder / f"{number:05}.wav").touch()
    names = await s3.list_names(f"{bucket}many/", 1_234)
    assert names == [f"{number:05}.wav" for number in range(1_234)]
    assert await class_of(s3.list_names(f"{bucket}many/", 1_233)) is FailureClass.INVALID_INPUT


async def test_a_folder_of_a_console_is_not_an_object(s3: Storage, bucket: str, s3_server: S3Server) -> None:
    (s3_server.bucket(bucket.removeprefix("s3://").strip("/")) / "folder").mkdir()
    await s3.put(f"{bucket}folder/x", b"")
    assert await s3.list_names(bucket, 10) == ["folder/x"]
    assert await s3.list_names(f"{bucket}folder/", 10) == ["x"]


async def test_a_prefix_without_keys_is_told_from_an_empty_folder(s3: Storage, bucket: str) -> None:
    await s3.put(f"{bucket}made-by-a-console/.keep", b"")
    made, missing = [await s3.list_objects(f"{bucket}{name}/", 10) for name in ("made-by-a-console", "nope")]
    assert (made.exists, made.names, made.skipped) == (True, [".keep"], [])
    assert (missing.exists, missing.names) == (False, [])


async def test_sizes_are_bounded(s3: Storage, bucket: str) -> None:
    await s3.put(f"{bucket}x", b"12345")
    assert await class_of(s3.get(f"{bucket}x", 4)) is FailureClass.INVALID_INPUT


@pytest.mark.parametrize("size_bytes", [0, 100_000, 250_001])
async def test_put_file_creates_or_finds_the_same(
    s3: Storage, bucket: str, scratch: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    """In one request, and in parts that are smaller than usual."""
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 200_000)
    content = os.urandom(size_bytes)
    (scratch / "spoken").write_bytes(content)
    await s3.put_file(f"{bucket}x", scratch / "spoken")
    assert await s3.get(f"{bucket}x", size_bytes) == content
    await s3.put_file(f"{bucket}x", scratch / "spoken")
    (scratch / "spoken").write_bytes(content[:-1] + b"??")
    call = s3.put_file(f"{bucket}x", scratch / "spoken")
    assert await class_of(call, str(scratch)) is FailureClass.MACHINE_LOST
    assert await s3.get(f"{bucket}x", size_bytes) == content


async def test_a_large_file_goes_up_in_parts(
    s3: Storage, bucket: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 6 * 2**20)
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)  # the minimum that S3 accepts
    content = os.urandom(11 * 2**20)
    (scratch / "spoken").write_bytes(content)
    await s3.put_file(f"{bucket}x", scratch / "spoken")
    version = await s3.head(f"{bucket}x")
    assert version.etag is not None and version.etag.endswith('-3"'), "of three parts"
    assert await s3.download(f"{bucket}x", scratch / "copy", version) == hashlib.sha256(content).hexdigest()


async def test_an_upload_that_fails_leaves_no_parts(
    open_s3: OpenS3, bucket: str, scratch: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 6 * 2**20)
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)
    (scratch / "spoken").write_bytes(bytes(11 * 2**20))
    proxy.plan = InTurn(None, Status(500), only="PUT")
    storage = open_s3(proxy.endpoint)
    assert await class_of(storage.put_file(f"{bucket}x", scratch / "spoken")) is FailureClass.TRANSPORT
    assert [request.method for request in proxy.requests] == ["POST", "PUT", "PUT", "DELETE"]
    assert not await storage.exists(f"{bucket}x")
    await storage.put_file(f"{bucket}x", scratch / "spoken")
    assert await storage.exists(f"{bucket}x")


# Credentials and endpoints


async def test_wrong_credentials_are_denied(open_s3: OpenS3, bucket: str, s3_server: S3Server) -> None:
    await open_s3().put(f"{bucket}x", b"x")
    secret = "WRONG/SECRET"
    for wrong, told in (({"secret_access_key": secret}, "secret key"), ({"access_key_id": "AKNOBODY"}, "access key")):
        error = await error_of(open_s3(**wrong).get(f"{bucket}x", 10), *wrong.values(), s3_server.secret_access_key)
        assert error.failure_class is FailureClass.ACCESS_DENIED
        assert told in error.message
        assert await class_of(open_s3(**wrong).head(f"{bucket}x")) is FailureClass.ACCESS_DENIED


async def test_another_region_is_denied(open_s3: OpenS3, bucket: str) -> None:
    assert "AWS_REGION" in (await error_of(open_s3(region="eu-west-1").get(f"{bucket}x", 1))).message


async def test_an_expired_token_is_reported(open_s3: OpenS3, bucket: str, proxy: FaultProxy) -> None:
    body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    proxy.plan = InTurn(Status(400, body=body))
    token = "SESSIONTOKEN"
    error = await error_of(open_s3(proxy.endpoint, session_token=token).get(f"{bucket}x", 1), token)
    assert error.failure_class is FailureClass.ACCESS_DENIED
    assert "expired" in error.message


async def test_a_missing_bucket_is_reported(s3: Storage, scratch: Path) -> None:
    for call in (s3.get("s3://nowhere/x", 1), s3.put("s3://nowhere/x", b""), s3.list_names("s3://nowhere/", 1)):
        error = await error_of(call)
        assert error.failure_class is FailureClass.INPUT_NOT_FOUND
        assert "bucket" in error.message


async def test_s3_without_credentials_is_denied() -> None:
    assert await class_of(Storage(["s3://calls/"]).get("s3://calls/x", 10)) is FailureClass.ACCESS_DENIED


async def test_nothing_ambient_is_used(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "AMBIENT")
    for name in ("AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    storage = open_s3(proxy.endpoint)
    await storage.put(f"{bucket}x", b"x")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "https://169.254.169.254",
        "https://[fd00:ec2::254]",
        "https://10.0.0.1",
        "https://[::ffff:10.0.0.1]",
        "https://0.0.0.0",
        "https://2130706433",
        "https://0x7f.1",
        "https://user:secret@s3.example",
        "https://s3.example/path",
        "https://s3.example?x=y",
        "ftp://s3.example",
        "s3.example",
    ],
)
async def test_an_endpoint_that_leads_astray_is_denied(endpoint: str) -> None:
    credentials = S3Credentials(
        access_key_id=SecretStr("KEY"), secret_access_key=SecretStr("SECRET"), endpoint_url=endpoint
    )
    async with Storage(["s3://calls/"], credentials, LOOPBACK) as storage:
        assert await class_of(storage.get("s3://calls/x", 1), "SECRET", "secret@") is FailureClass.ACCESS_DENIED


async def test_plain_http_reaches_only_what_the_agent_s_file_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    async def record(_: object, host: str, *__: object) -> None:
        connected.append(host)
        raise httpcore2.ConnectError

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", record)
    for endpoint, expected in (
        ("http://8.8.8.8", FailureClass.ACCESS_DENIED),
        ("https://8.8.8.8", FailureClass.TRANSPORT),
        ("http://127.0.0.1", FailureClass.TRANSPORT),
    ):
        credentials = S3Credentials(
            access_key_id=SecretStr("K"), secret_access_key=SecretStr("S"), endpoint_url=endpoint
        )
        async with Storage(["s3://calls/"], credentials, LOOPBACK) as storage:
            assert await class_of(storage.get("s3://calls/x", 1)) is expected
    assert connected == ["8.8.8.8", "127.0.0.1"]


async def test_loopback_is_private_unless_the_agent_s_file_lists_it(bucket: str, s3_server: S3Server) -> None:
    credentials = S3Credentials(
        access_key_id=SecretStr("K"), secret_access_key=SecretStr("S"), endpoint_url=s3_server.endpoint
    )
    async with Storage([bucket], credentials) as storage:
        error = await error_of(storage.get(f"{bucket}x", 1))
    assert error.failure_class is FailureClass.ACCESS_DENIED
    assert "privateNetworks" in error.message


async def test_a_region_cannot_change_the_host() -> None:
    credentials = S3Credentials(access_key_id=SecretStr("K"), secret_access_key=SecretStr("S"), region="x.example.com/")
    error = await error_of(Storage(["s3://calls/"], credentials).get("s3://calls/x", 1))
    assert "AWS_REGION" in error.message


async def test_an_https_endpoint_must_prove_its_identity(tmp_path: Path, authority: Authority) -> None:
    with S3Server(tmp_path, certificate=authority.server_file) as server:
        server.bucket("calls")
        credentials = S3Credentials(
            access_key_id=SecretStr(server.access_key_id),
            secret_access_key=SecretStr(server.secret_access_key),
            endpoint_url=server.endpoint,
        )
        trusting = LOOPBACK.model_copy(update={"ca_bundle": authority.ca_file})
        async with Storage(["s3://calls/"], credentials, trusting) as storage:
            await storage.put("s3://calls/x", b"x")
            assert await storage.get("s3://calls/x", 1) == b"x"
        async with Storage(["s3://calls/"], credentials, LOOPBACK) as storage:
            assert "certificate" in (await error_of(storage.get("s3://calls/x", 1))).message


async def test_the_most_verbose_log_contains_no_secret(
    open_s3: OpenS3, bucket: str, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    storage = open_s3(session_token="SESSIONTOKEN")  # noqa: S106 -- not a real token
    with contextlib.suppress(VoxFleetError):  # the server knows no such session
        await storage.get(f"{bucket}patient.wav", 1)
    await open_s3().put(f"{bucket}patient.wav", b"spoken secret")
    await open_s3().get(f"{bucket}patient.wav", 100)
    for secret in (s3_server.secret_access_key, s3_server.access_key_id, "SESSIONTOKEN", "patient", "spoken"):
        assert secret not in caplog.text
    assert s3_server.secret_access_key not in repr(storage) + repr(vars(storage))
