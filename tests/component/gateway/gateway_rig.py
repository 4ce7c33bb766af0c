"""Links of a gateway to stand-in agents behind unix sockets, as behind tunnels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.rig.session_agent import TOKEN, SessionAgent

from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import MacAgent, VoiceEndpoint
from voxfleet_gateway.endpoint_sessions import EndpointSessions
from voxfleet_gateway.gateway_metrics import GatewayMetrics
from voxfleet_gateway.lane_session import OpensSessions
from voxfleet_gateway.mac_links.links import MacLinks
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.dialer import AddressedConnection, AgentAddress, DialError, LocalSocket

CONTROL_PLANE = "11111111-2222-3333-4444-555555555555"
NAMESPACE, ENDPOINT, UID = "speech", "captions", "endpoint-uid"
DIGEST = "sha256:" + "0" * 64
CONTRACT = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}


@dataclass
class Connection:
    address: AgentAddress
    ended: DialError | None = None
    is_broken: bool = True
    """Once it has ended."""
    refusal: DialError | None = None
    base_url: str = "http://agent"

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        raise AssertionError("a gateway uses no httpx")


@dataclass
class Dialer:
    """Reaches every Mac at a socket named after it; refuses those that are `down`."""

    folder: Path
    down: set[str] = field(default_factory=set)
    dialled: list[str] = field(default_factory=list)
    connections: dict[str, Connection] = field(default_factory=dict)
    """The newest of each Mac."""
    open: int = 0

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return one.spec.ssh == other.spec.ssh

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AddressedConnection]:
        name = mac.metadata.name
        self.dialled.append(name)
        if name in self.down:
            raise DialError(Reason.SSH_UNREACHABLE, "cannot reach sshd")
        return self._open(name)

    @asynccontextmanager
    async def _open(self, name: str) -> AsyncIterator[AddressedConnection]:
        self.open += 1
        connection = self.connections[name] = Connection(LocalSocket(self.folder / name))
        try:
            yield connection
        finally:
            self.open -= 1


class GatewayRig:
    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.folder = folder
        self.dialer = Dialer(folder)
        self.cache = Cache()
        self.links = MacLinks(self.dialer, self._secret, control_plane=CONTROL_PLANE, max_connections=20)
        self.sessions = EndpointSessions(self.cache, self.links, GatewayMetrics())
        self.agents: dict[str, SessionAgent] = {}
        self.token = TOKEN
        self._version = 0
        self._numbers: dict[str, int] = {}
        """Of the lane on each Mac: no two lanes have the same."""

    async def start_agent(self, name: str, *, stack: AsyncExitStack | None = None, **settings: object) -> SessionAgent:
        """With a lane of the endpoint. It lives as long as `stack`, or the rig."""
        agent = SessionAgent(control_plane=CONTROL_PLANE, **settings)  # type: ignore[arg-type] # whichever the test names
        self._numbers[name] = len(self._numbers) + 1
        agent.lanes.add(LaneKey(UID, self._numbers[name]))
        await (stack or self.stack).enter_async_context(agent.on_socket(self.folder / name))
        self.agents[name] = agent
        self.cache.put(self.mac(name))
        return agent

    def mac(self, name: str, user: str = "voxfleet") -> MacAgent:
        self._version += 1
        ssh = {
            "host": "127.0.0.1",
            "user": user,
            "hostKeys": ["ssh-ed25519 " + "A" * 68],
            "identitySecretRef": {"name": "ssh", "key": "id"},
        }
        return MacAgent.load(
            {
                "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(self._version)},
                "spec": {
                    "ssh": ssh,
                    "tokenSecretRef": {"name": name, "key": "token"},
                    "sessionTokenSecretRef": {"name": name, "key": "sessionToken"},
                    "ledgerPublicKey": "A" * 43 + "=",
                },
            }
        )

    def serve(
        self, *macs: str, state: str = "Warm", name: str = ENDPOINT, uid: str = UID, **spec: object
    ) -> VoiceEndpoint:
        """The endpoint has lanes there."""
        self._version += 1
        endpoint = VoiceEndpoint.load(
            {
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "uid": uid,
                    "resourceVersion": str(self._version),
                },
                "spec": {
                    "contractRef": {"name": "contract"},
                    "model": {"builtin": {"name": "commands"}},
                    "memoryCap": "1Gi",
                    **spec,
                },
                "status": {
                    "contract": {"digest": DIGEST, "spec": CONTRACT, "generation": 1},
                    "macs": [
                        {
                            "mac": mac,
                            "generation": self._numbers.get(mac, 99),
                            "specDigest": DIGEST,
                            "state": state,
                            "since": "2026-11-30T10:00:00Z",
                        }
                        for mac in macs
                    ],
                },
            }
        )
        self.cache.put(endpoint)
        return endpoint

    def opener(self) -> OpensSessions:
        """Of the endpoint, as it is now."""
        endpoint = self.cache.get(VoiceEndpoint, NAMESPACE, ENDPOINT)
        assert endpoint is not None
        return self.sessions.opener(endpoint)

    async def _secret(self, name: str, key: str) -> bytes:
        return f"{self.token}\n".encode()
