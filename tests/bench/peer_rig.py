"""The peer: Indexed Jobs on the same kube-apiserver and etcd, with Kubernetes' own controllers; kwok plays kubelets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel
from tests.bench.api_client import ApiClient
from tests.bench.control_plane_load import ControlPlaneLoad, LoadMeter
from tests.bench.failure import MeasurementFailed
from tests.bench.peer_documents import STAGES, indexed_job, nodes
from tests.rig.started_together import StartedTogether

from voxfleet_dev import binaries
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.kube_component import start_component
from voxfleet_dev.processes import Child

PEER_SERVERS = ("kube-controller-manager", "kube-scheduler", "kwok")
CONTROLLERS = ("job-controller", "garbage-collector-controller")
NAMESPACE = "default"
NODES_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1


class _Condition(BaseModel):
    type: str
    status: str


class _Status(BaseModel):
    """Of a job or a node."""

    conditions: tuple[_Condition, ...] = ()
    succeeded: int = 0

    def has(self, condition: str) -> bool:
        return any(each.type == condition and each.status == "True" for each in self.conditions)


class _Object(BaseModel):
    status: _Status


class _NodeList(BaseModel):
    items: tuple[_Object, ...]


class PeerRig(StartedTogether):
    """A context manager. `client_qps`: how much the peer's clients may ask a second; None: their defaults."""

    def __init__(self, directory: Path, *, nodes: int, client_qps: int | None) -> None:
        self.directory = directory
        self.control_plane = ControlPlane(directory / "control-plane")
        self._nodes = nodes
        self._limits = [] if client_qps is None else [f"--kube-api-qps={client_qps}", f"--kube-api-burst={client_qps}"]
        self._stack = ExitStack()

    def prepare(self, name: str, items: int) -> None:
        return

    def submit(self, name: str, items: int) -> None:
        self.api.create(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", indexed_job(name, items))

    def wait_complete(self, name: str, items: int, timeout_seconds: float) -> None:
        """Raises MeasurementFailed when the job fails, loses an item, or is not complete in time."""
        deadline = time.monotonic() + timeout_seconds
        while not (status := self._job_status(name)).has("Complete"):
            if status.has("Failed") or time.monotonic() > deadline:
                raise MeasurementFailed(
                    f"job {name} of the peer: failed, or not done in {timeout_seconds:g} s: {status}"
                )
            time.sleep(POLL_SECONDS)
        if status.succeeded != items:
            raise MeasurementFailed(f"job {name} of the peer: {status}, expected {items} succeeded")

    def settle(self, name: str) -> None:
        """A job is complete only once each of its pods is accounted for."""

    def starts(self, name: str, load: ControlPlaneLoad) -> Sequence[datetime]:
        """When kwok reported each pod, which is the first word of a kubelet."""
        first: dict[str, datetime] = {}
        for request in load.requests:
            if request.client == "kwok" and request.what == "patch pods/status" and request.name.startswith(f"{name}-"):
                first.setdefault(request.name, request.received)
        return list(first.values())

    def _start(self) -> None:
        self._stack.enter_context(self.control_plane)
        self.api = ApiClient(self.control_plane)
        programs = binaries.ensure(PEER_SERVERS)
        self.control_plane.kubectl("create", "-f", "-", input=json.dumps(nodes(self._nodes)))
        kwok = self._kwok(programs["kwok"])
        self._stack.callback(kwok.stop)
        kwok.start()
        kwok.wait_until(self._nodes_are_ready, NODES_TIMEOUT_SECONDS, "with every node ready")
        # kube-apiserver taints each new node; the controller that takes this back is one that nothing else here needs.
        self.control_plane.kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-")
        controllers = [
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.control_plane.directory / 'sa.key'}",
        ]
        pids = dict(self.control_plane.pids)
        for name, flags in (("kube-controller-manager", controllers), ("kube-scheduler", [])):
            server = start_component(
                programs[name], self.directory, self.control_plane.kubeconfig, [*flags, *self._limits]
            )
            self._stack.callback(server.stop)
            pids[name] = server.pid
        machine_pids = {"kwok": kwok.pid}
        self.meter = LoadMeter(self.control_plane.audit_log, self.control_plane.etcd_url, pids, machine_pids)

    def _kwok(self, program: Path) -> Child:
        stages = self.directory / "stages.yaml"
        stages.write_text(STAGES)
        argv: list[str | Path] = [
            program,
            f"--kubeconfig={self.control_plane.kubeconfig}",
            f"--config={stages}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=0",  # no heartbeats
        ]
        return Child("kwok", argv, self.directory / "kwok.log")

    def _nodes_are_ready(self) -> bool:
        listed = _NodeList.model_validate(self.api.get("/api/v1/nodes"))
        return sum(node.status.has("Ready") for node in listed.items) == self._nodes

    def _job_status(self, name: str) -> _Status:
        return _Object.model_validate(self.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}")).status
