"""A control plane, three Macs behind links that can be hurt, and up to two operators: alive from run to run."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from tests.rig.started_together import StartedTogether
from tests.soak.fleet.faults import LEASE_SECONDS, LOST_MARGIN_SECONDS
from tests.soak.fleet.link import Link

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import SignedRow, public_key, verify
from voxfleet_api.protocol import AttemptList, LedgerPage
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import Mac
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.processes import Child
from voxfleet_dev.sshd import generate_identity

EXAMPLES = REPOSITORY / "examples" / "clips"
OPERATOR_NAMESPACE = "voxfleet-system"
MACS, OPERATORS = 3, 2
READY_SECONDS = 120.0
POLL_SECONDS = 0.2
ANSWER_SECONDS = 2.0
TRACEBACK = "Traceback (most recent call last)"
PRODUCT_BOUND, SOAK_BOUND = "duration(self) >= duration('30s')", f"duration(self) >= duration('{LEASE_SECONDS}s')"

NoAnswer = (httpx.HTTPError, json.JSONDecodeError)
"""What a call raises while a part is down, or is refused."""


class NotReady(Exception):
    """The fleet did not come to rest before a run."""


class SoakMac:
    """A Mac, the link to its sshd, and what its agent says when it is asked without SSH."""

    def __init__(self, mac: Mac) -> None:
        self.mac = mac
        self.link = Link(mac.sshd.port)
        self._http = httpx.Client(
            base_url=mac.url,
            headers={"Authorization": f"Bearer {mac.token}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )
        self._rows: list[SignedRow] = []

    @property
    def agent(self) -> Child:
        return self.mac.agent

    def attempts(self) -> AttemptList:
        """Raises what NoAnswer names."""
        return AttemptList.load(self._get("/v1/attempts"))

    def ledger(self) -> tuple[SignedRow, ...]:
        """Every row that the agent has ever signed, verified. Raises what NoAnswer names, and LedgerError."""
        while True:
            after = self._rows[-1].row.sequence if self._rows else -1
            page = LedgerPage.load(self._get(f"/v1/ledger?after={after}"))
            if not page.rows:
                verify(self._rows, public_key(self.mac.ledger_public_key))
                return tuple(self._rows)
            self._rows += page.rows

    def scratch_bytes(self) -> int:
        return sum(path.lstat().st_size for path in self.mac.scratch.rglob("*") if not path.is_dir())

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()


class FleetRig(StartedTogether):
    """A context manager; everything lies below `directory`. Jobs may read and write below `shared`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.shared = self.directory / "shared"
        self.clips = self.shared / "clips"
        self.control_plane = ControlPlane(self.directory / "control-plane")
        identity = generate_identity()
        self.macs = [
            SoakMac(
                Mac(
                    f"mac-{letter}",
                    self.directory / f"mac-{letter}",
                    allow=[f"file://{self.shared}/"],
                    identity_pem=identity,
                    lost_after=f"{LEASE_SECONDS}s",
                    batch_size=2,
                )
            )
            for letter in "abcdefgh"[:MACS]
        ]
        self.account = OperatorAccount(self.control_plane, OPERATOR_NAMESPACE)
        flags = ["--progress-interval-seconds", "1", "--lost-margin-seconds", str(LOST_MARGIN_SECONDS)]
        self.operators = [
            OperatorProcess(
                self.directory / f"operator-{number}",
                kubeconfig=self.account.kubeconfig,
                namespace=OPERATOR_NAMESPACE,
                flags=flags,
            )
            for number in range(OPERATORS)
        ]
        self._tracebacks: Counter[Path] = Counter()
        self._stack = ExitStack()
        self._http: httpx.Client | None = None

    def api(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One request to the API server. Raises what NoAnswer names."""
        assert self._http is not None
        answer = self._http.request(method, path, json=body).raise_for_status().json()
        assert isinstance(answer, dict)
        return answer

    def objects(self, plural: str, namespace: str = "") -> list[dict[str, Any]]:
        """Raises what NoAnswer names."""
        where = f"namespaces/{namespace}/" if namespace else ""
        items = self.api("GET", f"/apis/{API_VERSION}/{where}{plural}")["items"]
        assert isinstance(items, list)
        return items

    def leader(self) -> OperatorProcess | None:
        """Raises what NoAnswer names."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"
        for lease in self.api("GET", path)["items"]:
            holder = lease["spec"].get("holderIdentity")
            for operator in self.operators:
                lines = operator.log.read_text().splitlines() if holder and operator.log.exists() else []
                if any("lease acquired" in line and holder in line for line in lines):
                    return operator
        return None

    def new_tracebacks(self) -> list[str]:
        """What agents and operators have logged since the last call that nobody foresaw."""
        found = []
        for log in (*(operator.log for operator in self.operators), *(mac.agent.log for mac in self.macs)):
            text = log.read_text(errors="replace") if log.exists() else ""
            count = text.count(TRACEBACK)
            if count > self._tracebacks[log]:
                found.append(f"{log} has a traceback: {text[text.rindex(TRACEBACK) :][:2000]}")
            self._tracebacks[log] = count
        return found

    def prepare(self, replicas: int) -> None:
        """So many operators run, every Mac is available and has nothing to do. Raises NotReady, ChildFailed."""
        for number, operator in enumerate(self.operators):
            if number >= replicas:
                operator.stop()
            elif not operator.child.running:
                operator.start()
        self.wait_for("every Mac available", self._macs_are_available)
        self.wait_for("no attempt on any Mac", lambda: not any(mac.attempts().attempts for mac in self.macs))

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_seconds: float = READY_SECONDS) -> None:
        """Polls until `ready()`, which may fail as NoAnswer says. Raises NotReady."""
        deadline = time.monotonic() + timeout_seconds
        while not answered(ready):
            if time.monotonic() > deadline:
                raise NotReady(f"{what}: not after {timeout_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def _macs_are_available(self) -> bool:
        found = [MacAgent.load(item) for item in self.objects("macagents")]
        return len(found) == len(self.macs) and all(
            is_true(mac.status.conditions, ConditionType.AVAILABLE) for mac in found
        )

    def _start(self) -> None:
        shutil.copytree(EXAMPLES, self.clips)
        self._stack.callback(self.control_plane.stop)
        for mac in self.macs:
            self._stack.callback(mac.close)
            self._stack.callback(mac.mac.stop)
        with ThreadPoolExecutor(len(self.macs) + 1) as pool:
            started = [pool.submit(self.control_plane.start), *(pool.submit(mac.mac.start) for mac in self.macs)]
            for one in started:
                one.result()
        for mac in self.macs:
            self._stack.enter_context(mac.link)
        self._http = httpx.Client(
            base_url=self.control_plane.url,
            headers={"Authorization": f"Bearer {self.control_plane.token}"},
            timeout=ANSWER_SECONDS,
            verify=ssl.create_default_context(cafile=str(self.control_plane.ca_file)),
            trust_env=False,
        )
        self._stack.callback(self._http.close)
        self._apply_kinds()
        self.control_plane.kubectl("create", "namespace", OPERATOR_NAMESPACE)
        for mac in self.macs:
            self._register(mac)
        self.account.grant()
        for operator in self.operators:
            self._stack.callback(operator.stop)

    def _apply_kinds(self) -> None:
        """With a shorter `lostAfter` than the product allows: a take-over is what most runs are about."""
        for file in sorted((REPOSITORY / "crds").glob("voxfleet.dev_*.yaml")):
            text = file.read_text()
            if "macagents" in file.name:
                assert PRODUCT_BOUND in text, f"{file}: the bound of lostAfter is written differently now"
                text = text.replace(PRODUCT_BOUND, SOAK_BOUND)
            self.control_plane.apply(text)
        self.control_plane.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=60s")

    def _register(self, mac: SoakMac) -> None:
        """The operator reaches the Mac's sshd through the link."""
        manifest: dict[str, Any] = mac.mac.mac_agent_manifest()
        manifest["spec"]["ssh"]["port"] = mac.link.port
        self.control_plane.apply(*mac.mac.secret_manifests(OPERATOR_NAMESPACE), manifest)


def answered(question: Callable[[], bool]) -> bool:
    """False also while nobody answers."""
    try:
        return question()
    except NoAnswer:
        return False
