"""A fleet of fake Macs: enough of them, and jobs large enough, to measure the control plane with.

Real: each Mac's HTTP server and its checks, the supervisor with leases, admission and state machine, the journal in an
SQLite file of its own, the chain of signed machine-hours, scratch, storage, the parts of a shard, and Finalize, which
refuses a job unless each clip has exactly one row. The operator is the product's process but for its dialer, which
needs no SSH.

Not real: lanes have no child, no clip is opened or fetched, nothing is decoded or heard. Plan takes each clip's length
from the settings, Process sleeps for each clip and then writes the row that a Mac would have written, 64 at a time. No
evidence of quarantined clips is written, no run.json, and an attempt takes over nothing of an earlier one. All Macs
share one process and with it one processor, so how fast they are says nothing about Macs.

    with FakeFleet(folder, macs=4) as fleet:
        fleet.submit("job", clips=1000)
        job = fleet.ended("job")
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.rig.fake_fleet.macs import FakeMacs, operator_of_fake_macs
from tests.rig.fake_fleet.settings import FleetSettings
from tests.rig.fake_fleet.stages import clip_id
from tests.rig.started_together import StartedTogether

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_dev.processes import ChildFailed

OPERATOR_NAMESPACE, NAMESPACE, CONTRACT_NAME = "voxfleet-system", "fake", "contract"
CONTRACT: dict[str, object] = {
    "apiVersion": API_VERSION,
    "kind": "VoiceContract",
    "metadata": {"name": CONTRACT_NAME, "namespace": NAMESPACE},
    "spec": {
        "input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]},
        "quarantine": {"maxClips": 1_000_000, "maxPercent": 100},
    },
}
READY_SECONDS = 300.0
POLL_SECONDS = 0.25
USER_AGENT = "voxfleet-bench/1"
"""Which tests/bench/audit.py leaves out."""


class NotInTime(Exception):
    """Something did not happen in time; the message ends with the operator's last words."""


class FakeFleet(StartedTogether):
    """Everything below `folder`. A context manager; once it is entered, every Mac is available."""

    def __init__(
        self,
        folder: Path,
        macs: int,
        *,
        control_plane: ControlPlane | None = None,
        progress_interval_seconds: float | None = None,
        archive: str | None = None,
        **settings: object,
    ) -> None:
        """`control_plane`: one that runs already. `archive`: the ledger archive. `settings`: see FleetSettings."""
        folder = folder.absolute()
        self.folder = folder
        self._own_control_plane = control_plane is None
        self.control_plane = control_plane or ControlPlane(folder / "control-plane")
        told = {
            "folder": folder / "macs",
            "names": tuple(f"mac-{number:03d}" for number in range(macs)),
            "allow": (f"file://{folder}/shared/",),
            **settings,
        }
        self.macs = FakeMacs(FleetSettings.model_validate(told))
        self.account = OperatorAccount(self.control_plane, OPERATOR_NAMESPACE)
        self.operator = operator_of_fake_macs(
            folder, self.account.kubeconfig, OPERATOR_NAMESPACE, progress_interval_seconds, archive
        )
        self._opener = urllib.request.build_opener()
        self._stack = ExitStack()

    def install(self) -> None:
        """Applies all that people apply: kinds, namespaces, the contract, the MacAgents, the operator's account."""
        self.control_plane.apply(REPOSITORY / "crds")
        self.control_plane.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=30s")
        for namespace in (OPERATOR_NAMESPACE, NAMESPACE):
            metadata = {"name": namespace}
            self.control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.control_plane.apply(CONTRACT)
        self.control_plane.apply(self.macs.manifests(OPERATOR_NAMESPACE))
        self.account.grant()

    def _clean_up(self) -> None:
        """Of a control plane that others use too. The operator still runs: it ends what the jobs have begun."""
        self.control_plane.kubectl("delete", "audiobatchjobs", "--all", "-n", NAMESPACE)
        self.control_plane.kubectl("delete", "macagents", *self.macs.settings.names)

    def write_input(self, name: str, clips: int) -> Path:
        """A manifest of clips that nobody opens; to be written before a job is measured."""
        path = self.folder / "shared" / "input" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for index in range(clips):
                file.write(json.dumps({"id": clip_id(index), "uri": f"{clip_id(index)}.wav"}) + "\n")
        return path

    def submit(self, name: str, clips: int, **spec: object) -> None:
        """`kubectl apply` of a job over so many clips."""
        self.apply_job(name, self.write_input(name, clips), **spec)

    def apply_job(self, name: str, manifest: Path, **spec: object) -> None:
        self.control_plane.apply(self.job_manifest(name, manifest, **spec))

    def job_manifest(self, name: str, manifest: Path, **spec: object) -> dict[str, object]:
        body: dict[str, object] = {
            "contractRef": {"name": CONTRACT_NAME},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{self.folder}/shared/results/"},
            "parallelism": 1000,
            **spec,
        }
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": metadata, "spec": body}

    def create(self, job: Mapping[str, object]) -> None:
        """One request, and no kubectl, whose processor time would be part of what is measured."""
        self._request("POST", f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/audiobatchjobs", job)

    def register(self, macs: FakeMacs) -> None:
        """`kubectl apply` of Macs beside those that the fleet began with; they run already."""
        self.control_plane.apply(macs.manifests(OPERATOR_NAMESPACE))

    def remove(self, macs: FakeMacs) -> None:
        """Deletes their MacAgents."""
        self.control_plane.kubectl("delete", "macagents", *macs.settings.names)

    def job(self, name: str) -> AudioBatchJob:
        return AudioBatchJob.load(self.get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/audiobatchjobs/{name}"))

    def ended(self, name: str, timeout_seconds: float = 600.0) -> AudioBatchJob:
        """The job once it is Complete or Failed and its machine time is settled. Raises NotInTime."""

        def over() -> bool:
            status = self.job(name).status
            ends = (ConditionType.COMPLETE, ConditionType.FAILED)
            return any(is_true(status.conditions, end) for end in ends) and status.usage.settled

        self.wait_for(f"job {name} ended and settled", over, timeout_seconds)
        return self.job(name)

    def available_macs(self) -> int:
        listed = self.get(f"/apis/{API_VERSION}/macagents")["items"]
        if not isinstance(listed, list):
            raise TypeError("the API server lists no items")
        found = [MacAgent.load(item) for item in listed]
        return sum(is_true(mac.status.conditions, ConditionType.AVAILABLE) for mac in found)

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Polls until `ready()`. Raises NotInTime."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            for child in (self.operator, self.macs.child):
                if not child.running:
                    raise ChildFailed(f"{what}: {child.name} ended; {child.log_tail(15)}")
            if time.monotonic() > deadline:
                raise NotInTime(
                    f"{what}: not after {timeout_seconds:g} s; logs below {self.folder}; the operator:\n"
                    f"{self.operator.log_tail(15)}"
                )
            time.sleep(POLL_SECONDS)

    def get(self, path: str) -> Mapping[str, object]:
        """The API server's answer; a kubectl process each time would take processor time from what is measured."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, content: Mapping[str, object] | None = None) -> Mapping[str, object]:
        headers = {
            "Authorization": f"Bearer {self.control_plane.token}",
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(  # noqa: S310 - https loopback
            self.control_plane.url + path,
            None if content is None else json.dumps(content).encode(),
            headers,
            method=method,
        )
        with self._opener.open(request, timeout=30) as answer:
            body: Mapping[str, object] = json.load(answer)
        return body

    def _start(self) -> None:
        (self.folder / "shared" / "results").mkdir(parents=True, exist_ok=True)
        if self._own_control_plane:
            self._stack.callback(self.control_plane.stop)
            self.control_plane.start()
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.control_plane.ca_file)))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        self._stack.callback(self.macs.stop)
        self.macs.start()
        self.install()
        self._stack.callback(self.operator.stop)
        self.operator.start()
        if not self._own_control_plane:
            self._stack.callback(self._clean_up)
        macs = len(self.macs.settings.names)
        self.wait_for(f"{macs} Macs available", lambda: self.available_macs() >= macs, READY_SECONDS)
