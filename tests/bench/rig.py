"""A control plane, some Macs and the operator with its default settings: what the fleet's figures are taken from."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.bench.failure import MeasurementFailed
from tests.rig.started_together import StartedTogether

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptList, AttemptStatus
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import Mac
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.sshd import generate_identity

OPERATOR_NAMESPACE, NAMESPACE = "voxfleet-system", "bench"
READY_TIMEOUT_SECONDS = 90.0
JOB_TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 0.25
SPEC: dict[str, object] = {
    "input": {"containers": ["wav", "flac", "mp3", "m4a"], "sampleRatesHz": [16000, 44100], "channels": [1, 2]},
    "conversions": {"resample": {"toHz": 16000, "quality": "soxr_vhq"}, "downmix": {"mode": "Mean"}},
}
CONTRACT: dict[str, object] = {
    "apiVersion": API_VERSION,
    "kind": "VoiceContract",
    "metadata": {"name": "bench"},
    "spec": SPEC,
}
LADDER_CONTRACT: dict[str, object] = {**CONTRACT, "spec": {**SPEC, "batching": {"ladder": {}}}}
"""The Mac measures its batch sizes before it works; that is Setup."""


class Rig(StartedTogether):
    """Everything below `directory`; `readable` is the folder whose files the Macs may read. A context manager.

    Jobs are watched with small HTTP requests: a kubectl process each time would take processor time from the agents.
    """

    def __init__(
        self,
        directory: Path,
        *,
        macs: int,
        readable: Path,
        contract: dict[str, object] = CONTRACT,
        interactive_lanes: int = 0,
    ) -> None:
        """`interactive_lanes`: of each Mac."""
        self.directory = directory
        self._contract = contract
        self.control_plane = ControlPlane(directory / "control-plane")
        identity = generate_identity()
        allow = [f"file://{readable}/", f"file://{directory}/results/"]
        self.macs = [
            Mac(
                f"mac-{letter}",
                directory / f"mac-{letter}",
                allow=allow,
                identity_pem=identity,
                interactive_lanes=interactive_lanes,
            )
            for letter in "abcdefgh"[:macs]
        ]
        self.account = OperatorAccount(self.control_plane, OPERATOR_NAMESPACE)
        self.operator = OperatorProcess(
            directory / "operator", kubeconfig=self.account.kubeconfig, namespace=OPERATOR_NAMESPACE
        )
        self._stack = ExitStack()
        self._opener: urllib.request.OpenerDirector | None = None

    def submit(self, name: str, manifest: Path, **spec: object) -> None:
        """`kubectl apply` of a job over a manifest's clips."""
        body: dict[str, object] = {
            "contractRef": {"name": "bench"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{self.directory}/results/"},
            **spec,
        }
        job = {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": {"name": name}, "spec": body}
        self.control_plane.apply(job, namespace=NAMESPACE)

    def job(self, name: str) -> AudioBatchJob:
        return AudioBatchJob.load(self._get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/audiobatchjobs/{name}"))

    def shards(self, job: str) -> list[AudioShard]:
        items = self._get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/audioshards")["items"]
        assert isinstance(items, list)
        shards = [AudioShard.load(item) for item in items]
        return [shard for shard in shards if shard.spec.job_ref.name == job]

    def completed(self, name: str, clips: int) -> AudioBatchJob:
        """The job once it is Complete and settled. Raises MeasurementFailed when it fails or loses a clip."""

        def ended() -> bool:
            status = self.job(name).status
            if is_true(status.conditions, ConditionType.FAILED):
                raise MeasurementFailed(f"job {name} failed: {[item.dump() for item in status.conditions]}")
            return is_true(status.conditions, ConditionType.COMPLETE) and status.usage.settled

        self.wait_for(f"job {name} complete and settled", ended, JOB_TIMEOUT_SECONDS)
        job = self.job(name)
        if job.status.clips.succeeded != clips:
            raise MeasurementFailed(f"job {name}: {job.status.clips.dump()}, expected {clips} succeeded clips")
        return job

    def process_attempts(self, job: str) -> list[AttemptStatus]:
        """The job's Process attempts, from the agents themselves."""
        lists = [AttemptList.load(mac.get_json("/v1/attempts")) for mac in self.macs]
        every = [attempt for each in lists for attempt in each.attempts]
        return [attempt for attempt in every if attempt.job.name == job and attempt.stage is Stage.PROCESS]

    def models_are_loaded(self) -> bool:
        """Whether every Mac holds a model in memory."""
        return all(MachineFacts.load(mac.get_json("/v1/machine")).loaded_models for mac in self.macs)

    def wait_for(
        self, what: str, ready: Callable[[], bool], timeout_seconds: float, poll_seconds: float = POLL_SECONDS
    ) -> None:
        """Polls until `ready()`. Raises MeasurementFailed with the operator's log after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if not self.operator.child.running or time.monotonic() > deadline:
                raise MeasurementFailed(
                    f"{what}: not after {timeout_seconds:g} s; logs below {self.directory}; last of the operator:\n"
                    f"{self.operator.child.log_tail(15)}"
                )
            time.sleep(poll_seconds)

    def _start(self) -> None:
        (self.directory / "results").mkdir(parents=True)
        parts: list[ControlPlane | Mac] = [self.control_plane, *self.macs]
        for part in parts:
            self._stack.callback(part.stop)
        with ThreadPoolExecutor(len(parts)) as pool:
            for result in [pool.submit(part.start) for part in parts]:
                result.result()
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.control_plane.ca_file)))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        self.control_plane.apply(REPOSITORY / "crds")
        self.control_plane.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=30s")
        for namespace in (OPERATOR_NAMESPACE, NAMESPACE):
            self.control_plane.kubectl("create", "namespace", namespace)
        for mac in self.macs:
            self.control_plane.apply(*mac.secret_manifests(OPERATOR_NAMESPACE), mac.mac_agent_manifest())
        self.control_plane.apply(self._contract, namespace=NAMESPACE)
        self.account.grant()
        self._stack.callback(self.operator.stop)
        self.operator.start()
        self.wait_for("every Mac available", self._macs_are_available, READY_TIMEOUT_SECONDS)

    def _macs_are_available(self) -> bool:
        macs = [MacAgent.load(self._get(f"/apis/{API_VERSION}/macagents/{mac.name}")) for mac in self.macs]
        return all(is_true(mac.status.conditions, ConditionType.AVAILABLE) for mac in macs)

    def _get(self, path: str) -> Mapping[str, object]:
        if self._opener is None:
            raise MeasurementFailed("the rig was never started")
        headers = {"Authorization": f"Bearer {self.control_plane.token}", "User-Agent": "voxfleet-bench/1"}
        request = urllib.request.Request(self.control_plane.url + path, headers=headers)  # noqa: S310 - https loopback
        with self._opener.open(request, timeout=10) as answer:
            body: Mapping[str, object] = json.load(answer)
        return body
