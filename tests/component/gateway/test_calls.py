"""Calls of clients: who is let in, what others are told, and how the gateway stops."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.component.gateway.gateway_rig import ENDPOINT, NAMESPACE, GatewayRig

from voxfleet_api.session_protocol import OpenUpload, TurnDone
from voxfleet_gateway.access.gate import Gate
from voxfleet_gateway.access.key_secrets import KeySecrets
from voxfleet_gateway.access.service_accounts import MAX_QUESTIONS, MAX_WAITING, ServiceAccounts
from voxfleet_gateway.api_call import ApiCall, ApiRoute
from voxfleet_gateway.calls import Calls
from voxfleet_gateway.gateway_metrics import GatewayMetrics
from voxfleet_gateway.listener import Listener
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.kube_errors import SecretNotFound

KEY = "a-key-of-128-bits-at-least"
KEY_HEADERS = {"Authorization": f"Bearer {KEY}"}
TOKEN = "eyJh.eyJz.c2ln"
UNBOUND = "eyJh.eyJz.YW55"
TOKEN_HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PAGE = "https://app.example"
AUTH: dict[str, object] = {"keysSecretRef": {"name": "keys"}, "serviceAccounts": ["other/robot"]}
PATIENCE_SECONDS = 20.0


class Site:
    """A gateway's port, in front of a format that tells how many bytes it was sent, and a socket that waits."""

    def __init__(self, rig: GatewayRig, max_calls: int = 8) -> None:
        self.rig = rig
        self.secrets: dict[tuple[str, str], Mapping[str, bytes]] = {
            (NAMESPACE, "keys"): {"team-a": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n".encode()}
        }
        self.accounts = dict.fromkeys((TOKEN, UNBOUND), "system:serviceaccount:other:robot")
        self.allowed = True
        self.asked: list[str] = []
        self.waiting = asyncio.Event()
        """Set once the socket's handler waits."""
        self._accounts = ServiceAccounts(self._ask, time.monotonic)
        gate = Gate(rig.cache, KeySecrets(self._secret, time.monotonic), self._accounts)
        self.calls = Calls(rig.cache, gate, rig.sessions, GatewayMetrics(), max_calls=max_calls)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[aiohttp.ClientSession]:
        routes = (
            ApiRoute("POST", "/v1/count", self._count),
            ApiRoute("GET", "/v1/wait", self._wait, is_socket=True),
        )
        listener = Listener(self.calls.application(routes))
        port = await listener.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            await listener.stop()

    async def _count(self, request: web.Request, call: ApiCall) -> web.StreamResponse:
        async with call.open_session(OpenUpload(max_bytes=10_000_000)) as session:
            await session.send_audio(await request.read())
            await session.end_audio()
            texts = [event.text async for event in session.events() if isinstance(event, TurnDone)]
        return web.json_response({"text": " ".join(texts)})

    async def _wait(self, request: web.Request, call: ApiCall) -> web.StreamResponse:
        async with call.open_session(OpenUpload(max_bytes=10_000_000)):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            self.waiting.set()
            ends = [asyncio.ensure_future(call.closing.wait()), asyncio.ensure_future(socket.receive())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
            return socket

    async def _secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        self.asked.append(name)
        try:
            return self.secrets[namespace, name]
        except KeyError:
            raise SecretNotFound(namespace, name) from None

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(path.rsplit("/", 1)[-1])
        if path.endswith("tokenreviews"):
            user = self.accounts.get(body["spec"]["token"])
            if user is None:
                return {"status": {"authenticated": False}}
            if body["spec"]["token"] == UNBOUND:  # of a server that knows no audiences
                return {"status": {"authenticated": True, "user": {"username": user}}}
            return {"status": {"authenticated": True, "audiences": ["voxfleet-gateway"], "user": {"username": user}}}
        assert body["spec"]["resourceAttributes"]["verb"] == "use"
        return {"status": {"allowed": self.allowed}}


@pytest.fixture
def site(rig: GatewayRig) -> Site:
    return Site(rig)


def url(endpoint: str = ENDPOINT, namespace: str = NAMESPACE, what: str = "count") -> str:
    return f"/{namespace}/{endpoint}/v1/{what}"


async def refused(response: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """The error object."""
    assert response.status == status, await response.text()
    error: dict[str, Any] = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert KEY not in error["message"] and TOKEN not in error["message"]
    return error


@pytest.mark.parametrize("headers", [KEY_HEADERS, TOKEN_HEADERS], ids=["a key", "a ServiceAccount's token"])
async def test_a_call_that_is_let_in_reaches_a_lane(rig: GatewayRig, site: Site, headers: dict[str, str]) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client, client.post(url(), headers=headers, data=bytes(50_000)) as response:
        assert await response.json() == {"text": "50000 bytes"}
    assert rig.sessions.open_sessions == site.calls.open_calls == 0


async def test_whoever_is_not_let_in_learns_nothing(rig: GatewayRig, site: Site) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client:
        errors = []
        for path, headers in [
            (url(), {}),
            (url(), {"Authorization": "Bearer wrong"}),
            (url(), {"Authorization": f"Basic {KEY}"}),
            (url(), {"Authorization": "Bearer eyJh.eyJz.b3RoZXI"}),
            (url(), {"Authorization": f"Bearer {UNBOUND}"}),
            (url("absent"), KEY_HEADERS),
            (url(namespace="elsewhere"), KEY_HEADERS),
        ]:
            async with client.post(path, headers=headers) as response:
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                errors.append(await refused(response, 401))
        assert all(error == errors[0] for error in errors), "an endpoint that is there looks like one that is not"
        assert "spec.auth" in errors[0]["message"]


async def test_an_endpoint_without_auth_lets_nobody_in(rig: GatewayRig, site: Site) -> None:
    rig.serve("mac-a")
    async with site.served() as client:
        async with client.post(url(), headers=KEY_HEADERS) as response:
            assert "without spec.auth" in (await refused(response, 401))["message"].lower()
        async with client.post(url(), headers=TOKEN_HEADERS) as response:
            await refused(response, 404)
    assert "keys" not in site.asked


async def test_an_account_needs_both_the_list_and_the_right(rig: GatewayRig, site: Site) -> None:
    rig.serve("mac-a", auth={"serviceAccounts": ["robot"]})  # the one of the endpoint's own namespace
    async with site.served() as client:
        async with client.post(url(), headers=TOKEN_HEADERS) as response:
            error = await refused(response, 404)
        async with client.post(url("absent"), headers=TOKEN_HEADERS) as response:
            assert await refused(response, 404) == error
        rig.serve("mac-a", auth=AUTH)
        site.allowed = False
        async with client.post(url(), headers=TOKEN_HEADERS) as response:
            assert await refused(response, 404) == error
    assert site.asked == ["tokenreviews", "keys", "subjectaccessreviews"], "each answer is kept for a while"


async def test_a_key_in_the_url_or_in_a_subprotocol_is_refused(rig: GatewayRig, site: Site) -> None:
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client:
        for name in ("api_key", "token", "access_token", "Api-Key"):
            async with client.post(url(), headers=KEY_HEADERS, params={name: KEY}) as response:
                assert (await refused(response, 400))["param"] == name.lower()
        offered = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{KEY}"}
        async with client.get(url(what="wait"), headers=offered) as response:
            assert (await refused(response, 400))["code"] == "key_in_subprotocol"


async def test_only_listed_pages_may_call_and_read(rig: GatewayRig, site: Site) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth={**AUTH, "allowedOrigins": [PAGE]})
    async with site.served() as client:
        async with client.post(url(), headers={**KEY_HEADERS, "Origin": "https://evil.example"}) as response:
            await refused(response, 403)
            assert "Access-Control-Allow-Origin" not in response.headers
        async with client.post(url(), headers={**KEY_HEADERS, "Origin": PAGE}, data=b"12") as response:
            assert response.status == 200 and response.headers["Access-Control-Allow-Origin"] == PAGE
        async with client.options(url(), headers={"Origin": PAGE}) as response:
            assert response.status == 204 and "Authorization" in response.headers["Access-Control-Allow-Headers"]
        for path, origin in [(url(), "https://evil.example"), (url("absent"), PAGE)]:
            async with client.options(path, headers={"Origin": origin}) as response:
                await refused(response, 404)


async def test_what_is_too_large_or_too_often_is_refused_before_it_is_read(rig: GatewayRig, site: Site) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth={**AUTH, "requestsPerMinute": 2}, session={"maxUploadBytes": 2048})
    async with site.served() as client:
        async with client.post(url(), headers=KEY_HEADERS, data=io.BytesIO(bytes(4 * 2**20))) as response:
            assert "2048" in (await refused(response, 413))["message"]
        async with client.post(url(), headers=KEY_HEADERS, data=b"12") as response:
            assert response.status == 200
        async with client.post(url(), headers=KEY_HEADERS, data=b"12") as response:
            await refused(response, 429)
            assert 1 <= int(response.headers["Retry-After"]) <= 30
        async with client.post(url(), headers=TOKEN_HEADERS, data=b"12") as response:
            assert response.status == 200, "another caller has a bucket of its own"


async def test_an_endpoint_that_cannot_answer_says_when_to_come_back(rig: GatewayRig, site: Site) -> None:
    agent = await rig.start_agent("mac-a", room=0)
    async with site.served() as client:

        async def answer(status: int) -> str:
            async with client.post(url(), headers=KEY_HEADERS, data=b"12") as response:
                assert int(response.headers["Retry-After"]) >= 1
                code: str = (await refused(response, status))["code"]
                return code

        rig.serve("mac-a", state="Loading", auth=AUTH)
        assert await answer(503) == "no_warm_lane"
        rig.serve("mac-a", auth=AUTH, suspend=True)
        assert await answer(503) == "endpoint_suspended"
        rig.serve("mac-a", auth=AUTH)
        assert await answer(429) == "rate_limit_exceeded"
        asked = agent.upgrades
        assert 1 < asked < 10, "again and again while the caller waits for room"
        assert await answer(429) == "rate_limit_exceeded"
        assert agent.upgrades == asked, "a lane that is full is then left alone for as long as it said"


async def test_a_gateway_that_is_full_takes_no_further_call(rig: GatewayRig) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    site = Site(rig, max_calls=1)
    async with (
        site.served() as client,
        client.ws_connect(url(what="wait"), headers=KEY_HEADERS),
        client.post(url(), headers=KEY_HEADERS, data=b"12") as response,
    ):
        assert (await refused(response, 503))["code"] == "gateway_full"


async def test_an_endpoint_s_calls_keep_no_other_endpoint_out(rig: GatewayRig) -> None:
    await rig.start_agent("mac-a", room=8)
    rig.serve("mac-a", auth=AUTH, session={"maxPerLane": 8})
    rig.serve("mac-a", auth=AUTH, name="other", uid="other-uid", state="Loading")
    site = Site(rig, max_calls=4)
    async with site.served() as client, AsyncExitStack() as held:
        for _ in range(3):
            await held.enter_async_context(client.ws_connect(url(what="wait"), headers=KEY_HEADERS))
        async with client.post(url(), headers=KEY_HEADERS) as response:
            assert (await refused(response, 503))["code"] == "gateway_full"
        async with client.post(url("other"), headers=KEY_HEADERS) as response:
            assert (await refused(response, 503))["code"] == "no_warm_lane"


async def test_whoever_waits_at_the_gate_takes_no_place(rig: GatewayRig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    site = Site(rig, max_calls=2)
    asked, ask = asyncio.Event(), site._ask

    async def never(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.set()
        await asyncio.Event().wait()
        return await ask(path, body)

    monkeypatch.setattr(site._accounts, "_ask", never)
    async with site.served() as client:
        made_up = [
            asyncio.create_task(client.post(url(), headers={"Authorization": f"Bearer a.{number}.c"}))
            for number in range(MAX_QUESTIONS + MAX_WAITING)
        ]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asked.wait()
            while site._accounts.waiting < len(made_up):  # noqa: ASYNC110 # nobody is told of it
                await asyncio.sleep(0.01)
        assert site.calls.open_calls == 0
        async with client.post(url(), headers={"Authorization": "Bearer one.too.many"}) as response:
            assert (await refused(response, 503))["code"] == "token_unknown"
        async with client.post(url(), headers=KEY_HEADERS, data=b"12") as response:
            assert response.status == 200
        for one in made_up:
            one.cancel()


async def test_a_call_opens_no_session_of_a_later_endpoint_with_the_name(rig: GatewayRig) -> None:
    await rig.start_agent("mac-a")
    open_session = rig.sessions.opener(rig.serve("mac-a", auth=AUTH))
    rig.serve("mac-a", auth=AUTH, uid="another-uid")
    with pytest.raises(CallRefused) as error:
        async with open_session(OpenUpload(max_bytes=10)):
            pass
    assert error.value.status == 404


async def test_a_drain_lets_sessions_go_on_takes_no_new_one_and_closes_them_at_its_end(
    rig: GatewayRig, site: Site
) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client, client.ws_connect(url(what="wait"), headers=KEY_HEADERS) as socket:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await site.waiting.wait()
            draining = asyncio.create_task(site.calls.drain(0.1))
            await asyncio.sleep(0)
            async with client.post(url(), headers=KEY_HEADERS) as response:
                assert (await refused(response, 503))["code"] == "draining"
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
            await draining
    assert site.calls.open_calls == rig.sessions.open_sessions == 0


async def test_a_client_that_leaves_cancels_its_session(rig: GatewayRig, site: Site) -> None:
    agent = await rig.start_agent("mac-a", takes=False)
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.post(url(), headers=KEY_HEADERS, data=bytes(100_000))
        await asyncio.wait_for(agent.ended.wait(), PATIENCE_SECONDS)


async def test_paths_that_are_not_there_answer_as_everything_else(site: Site) -> None:
    async with site.served() as client:
        async with client.get("/") as response:
            await refused(response, 404)
        async with client.get(url()) as response:
            await refused(response, 405)
            assert "POST" in response.headers["Allow"]


async def raw(client: aiohttp.ClientSession, request: bytes, answers: int = 1) -> bytes:
    """The heads of so many answers."""
    base = client._base_url
    assert base is not None and base.host is not None and base.port is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return b"".join([await reader.readuntil(b"\r\n\r\n") for _ in range(answers)])
    finally:
        writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        f"GET {url()} HTTP/1.1\r\nAuthorization: Bearer {KEY}\x01\r\n\r\n",
        f"GET {url()}?api_key={KEY} HTTP/9.9\r\n\r\n",
        f"POST {url()} HTTP/1.1\r\nContent-Length: {KEY}\r\n\r\n",
        f"GET http://[:::/{KEY} HTTP/1.1\r\n\r\n",
        f"GET {url()} HTTP/1.1\r\nAuthorization: Bearer {KEY * 2000}\r\n\r\n",
    ],
)
async def test_a_damaged_request_is_quoted_in_no_log(
    request_bytes: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.served() as client:
        assert b" 400 " in await raw(client, request_bytes.encode("latin-1"))
    assert KEY not in caplog.text and not [record for record in caplog.records if record.name != "asyncio"]


async def test_a_fault_of_ours_is_logged_with_its_place_and_without_what_it_quotes(
    rig: GatewayRig, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(request: web.Request, call: ApiCall) -> web.StreamResponse:
        raise ExceptionGroup("of a task", [ValueError(f"input: {KEY}")])

    monkeypatch.setattr(site, "_count", faulty)
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client, client.post(url(), headers=KEY_HEADERS) as response:
        assert response.status == 500
    assert KEY not in caplog.text
    assert "ValueError" in caplog.text and " faulty" in caplog.text


async def test_a_key_that_is_no_text_is_no_key(site: Site) -> None:
    async with site.served() as client:
        head = f"GET {url(what='wait')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ".encode()
        assert b" 401 " in await raw(client, head + b"\xff\xfe\r\n\r\n")


async def test_a_packed_or_damaged_body_is_refused(rig: GatewayRig, site: Site) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    async with site.served() as client:
        packed = {**KEY_HEADERS, "Content-Encoding": "gzip"}
        async with client.post(url(), headers=packed, data=gzip.compress(bytes(2**20))) as response:
            assert (await refused(response, 415))["code"] == "content_encoding_not_served"
        head = f"POST {url()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 400 " in await raw(client, f"{head}no size\r\n".encode())


async def test_only_who_is_let_in_is_asked_for_a_body(rig: GatewayRig, site: Site) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a", auth=AUTH)
    head = f"POST {url()} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
    async with site.served() as client:
        assert (await raw(client, f"{head}\r\n".encode())).startswith(b"HTTP/1.1 401 ")
        asked = await raw(client, f"{head}Authorization: Bearer {KEY}\r\n\r\n12".encode(), answers=2)
        assert asked.startswith(b"HTTP/1.1 100 ") and b"HTTP/1.1 200 " in asked


async def test_a_connection_without_a_request_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxfleet_gateway.listener.HEADER_SECONDS", 0.2)
    async with site.served() as client:
        base = client._base_url
        assert base is not None and base.host is not None and base.port is not None
        reader, writer = await asyncio.open_connection(base.host, base.port)
        writer.write(b"POST /speech/captions/v1/count HTTP/1.1\r\nHost:")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.read() == b""
        writer.close()
