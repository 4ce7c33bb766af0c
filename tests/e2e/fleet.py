"""A small fleet of real Macs and a real operator, with the checks that tests make of it."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil
from tests.rig.api_server import ApiServer

from voxfleet_api.conditions import Condition, ConditionType, find, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.protocol import AttemptList, AttemptStatus
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_report import read_rows, result_folder
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import FleetTls, Mac
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.processes import wait_ended
from voxfleet_dev.sshd import generate_identity
from voxfleet_operator.leader import LEASE_NAME

CLIPS = REPOSITORY / "examples" / "clips"
WAIT_SECONDS = 150.0
POLL_SECONDS = 0.2
LOST_MARGIN_SECONDS = 3
EXPECTED = {
    row["id"]: row for row in (json.loads(line) for line in (CLIPS / "expected.jsonl").read_text().splitlines())
}

CONTRACT: dict[str, object] = {
    "apiVersion": "voxfleet.dev/v1alpha1",
    "kind": "VoiceContract",
    "metadata": {"name": "contract"},
    "spec": {
        "input": {
            "containers": ["wav", "flac", "mp3", "m4a"],
            "sampleRatesHz": [16000, 22050, 44100, 48000],
            "channels": [1, 2],
            "maxClip": "30s",
        },
        "conversions": {"resample": {"toHz": 16000, "quality": "soxr_vhq"}, "downmix": {"mode": "Mean"}},
        "quarantine": {"maxClips": 5, "maxPercent": 50},
        "failureBudget": {"retriesPerHour": 100_000, "quarantinedMinutes": 60},
    },
}


class Fleet:
    """Some Macs and an operator in a namespace of their own, on a shared control plane."""

    def __init__(
        self,
        control_plane: ControlPlane,
        directory: Path,
        namespace: str,
        *,
        macs: int = 2,
        lost_after: str = "10m",
        operator_namespace: str | None = None,
        over_https: Collection[int] = (),
        account: OperatorAccount | None = None,
        interactive_lanes: int = 0,
    ) -> None:
        """`operator_namespace`: where the operator and the Macs' Secrets are, unless in the namespace of the jobs.

        `over_https`: the numbers of the Macs that are reached in this way.
        `account`: the operator's, in that namespace, if it is to have other rights than those of every fleet.
        `interactive_lanes`: of each Mac.
        """
        self.control_plane = control_plane
        self.directory = directory
        self.namespace = namespace
        self._namespaces = [namespace]
        self.account = account or OperatorAccount(control_plane, operator_namespace or namespace)
        self.operator_namespace = self.account.namespace
        self.shared = directory / "shared"
        shutil.copytree(CLIPS, self.shared / "clips")
        identity, tls = generate_identity(), FleetTls.made()
        self.macs = [
            Mac(
                f"{namespace}-mac-{letter}",
                directory / f"mac-{letter}",
                allow=[f"file://{self.shared}/"],
                identity_pem=identity,
                tls=tls if number in over_https else None,
                lost_after=lost_after,
                interactive_lanes=interactive_lanes,
            )
            for number, letter in enumerate("abcdefgh"[:macs])
        ]
        self.operator = self.make_operator("operator")
        self._server = ApiServer(control_plane)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._server)
        self.account.grant()
        self._stack.callback(self._clean_up)
        for mac in self.macs:
            self._stack.callback(mac.stop)
        self._stack.callback(lambda: self.operator.stop())  # a test may have put another in its place
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        *,
        mac_env: Mapping[int, Mapping[str, str]] | None = None,
        operator_env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts every Mac and the operator and registers the Macs."""
        for number, mac in enumerate(self.macs):
            mac.start((mac_env or {}).get(number))
            self.register(mac)
        self.apply(CONTRACT)
        self.operator.start(operator_env)

    def make_operator(self, name: str, *flags: str) -> OperatorProcess:
        """One replica; the fleet starts and stops only `operator`."""
        return OperatorProcess(
            self.directory / name,
            kubeconfig=self.account.kubeconfig,
            namespace=self.operator_namespace,
            flags=["--progress-interval-seconds", "1", "--lost-margin-seconds", str(LOST_MARGIN_SECONDS), *flags],
        )

    def restart_operator(self, env: Mapping[str, str] | None = None) -> None:
        """Starts the operator, which has died, again. It leads at once, as if the dead one's Lease had run out."""
        free = json.dumps({"spec": {"holderIdentity": ""}})
        self.control_plane.kubectl(
            "patch", "lease", LEASE_NAME, "-n", self.operator_namespace, "--type=merge", "-p", free
        )
        self.operator.start(env)

    def register(self, mac: Mac, spec: Mapping[str, object] | None = None) -> None:
        """Applies a Mac's Secrets and its MacAgent, with some fields of its spec replaced."""
        for secret in mac.secret_manifests(self.operator_namespace):
            self.control_plane.apply(secret)
        manifest = mac.mac_agent_manifest()
        manifest["spec"] = {**_mapping(manifest["spec"]), **(spec or {})}
        self.control_plane.apply(manifest)

    def enter_namespace(self, namespace: str) -> None:
        """Creates another namespace, with the contract, for what is applied from now on."""
        self.control_plane.kubectl("create", "namespace", namespace)
        self.namespace = namespace
        self._namespaces.append(namespace)
        self.apply(CONTRACT)

    def apply(self, manifest: Mapping[str, object]) -> None:
        self.control_plane.apply(manifest, namespace=self.namespace)

    def submit(self, name: str, clip_ids: Sequence[str] | None = None, **spec: object) -> None:
        """Applies a job over some example clips (default: all of them)."""
        manifest = self.shared / "clips" / f"{name}.jsonl"
        lines = (CLIPS / "manifest.jsonl").read_text().splitlines()
        chosen = [line for line in lines if clip_ids is None or json.loads(line)["id"] in clip_ids]
        manifest.write_text("".join(f"{line}\n" for line in chosen))
        body = {
            "contractRef": {"name": "contract"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{self.shared}/results/"},
            "sharding": {"targetAudio": "8s"},
            **spec,
        }
        self.apply(
            {
                "apiVersion": "voxfleet.dev/v1alpha1",
                "kind": "AudioBatchJob",
                "metadata": {"name": name},
                "spec": body,
            }
        )

    def job(self, name: str) -> AudioBatchJob:
        return self._server.get(AudioBatchJob, name, self.namespace)

    def shards(self, job: str) -> list[AudioShard]:
        shards = self._server.list(AudioShard, self.namespace)
        return [shard for shard in shards if shard.spec.job_ref.name == job]

    def mac_agent(self, mac: Mac) -> MacAgent:
        return self._server.get(MacAgent, mac.name)

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_seconds: float = WAIT_SECONDS) -> None:
        """Polls until `ready()`; raises AssertionError with the operator's log."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            assert time.monotonic() < deadline, f"{what}: not after {timeout_seconds} s\n{self.explain()}"
            time.sleep(POLL_SECONDS)

    def wait_for_end(self, name: str, timeout_seconds: float = WAIT_SECONDS, *, settled: bool = True) -> AudioBatchJob:
        """Waits for the job to be Complete or Failed (and its usage settled); returns it."""

        def ended() -> bool:
            status = self.job(name).status
            over = is_true(status.conditions, ConditionType.COMPLETE) or is_true(
                status.conditions, ConditionType.FAILED
            )
            return over and (status.usage.settled or not settled)

        self.wait_for(f"job {name} ended", ended, timeout_seconds)
        return self.job(name)

    def wait_for_condition(
        self, read: Callable[[], AudioBatchJob | MacAgent], type_: ConditionType, status: str, reason: str
    ) -> Condition:
        """Returns the condition as it was when it had this status and reason."""
        seen: list[Condition] = []

        def holds() -> bool:
            found = find(read().status.conditions, type_)
            if found is not None:
                seen.append(found)
            return found is not None and (found.status, found.reason) == (status, reason)

        self.wait_for(f"{type_}={status} with reason {reason}", holds)
        return seen[-1]

    def events(self, reason: str) -> list[tuple[str, str, str]]:
        """What events with this reason say: kind and name of their object, and the note."""
        found = json.loads(self.control_plane.kubectl("get", "events.events.k8s.io", "-A", "-o", "json"))["items"]
        return [
            (item["regarding"]["kind"], item["regarding"]["name"], item["note"])
            for item in found
            if item["reason"] == reason
        ]

    def attempts_on(self, mac: Mac) -> tuple[AttemptStatus, ...]:
        """The attempts that the agent itself says it has."""
        return AttemptList.load(mac.get_json("/v1/attempts")).attempts

    def wait_until_empty(self, *macs: Mac) -> None:
        """Waits until the Macs have neither attempts nor scratch."""
        for mac in macs:
            self.wait_for(f"{mac.name} has no attempts", lambda mac=mac: self.attempts_on(mac) == ())  # type: ignore[misc] # bound here
            assert [path for path in mac.scratch.rglob("*") if not path.is_dir()] == []

    def rows(self, job: AudioBatchJob) -> list[ResultRow]:
        return read_rows(result_folder(job))

    def assert_nothing_lost_or_doubled(self, job: AudioBatchJob, clips: int) -> None:
        """Asserts that every clip has exactly one row, status agrees with the rows, and no Mac kept scratch."""
        rows = self.rows(job)
        assert [row.index for row in rows] == list(range(clips))
        counts = Counter(row.status for row in rows)
        status = job.status.clips
        in_status = {
            ClipStatus.SUCCEEDED: status.succeeded,
            ClipStatus.FAILED: status.failed,
            ClipStatus.QUARANTINED: status.quarantined,
            ClipStatus.NOT_RUN: status.not_run,
        }
        assert {name: counts[name] for name in ClipStatus} == in_status
        assert [path for mac in self.macs for path in mac.scratch.rglob("*") if not path.is_dir()] == []

    def explain(self) -> str:
        """Returns what a failed wait prints."""
        objects = self.control_plane.kubectl("get", "abj,ash,mac", "-A", "-o", "wide")
        agents = "\n".join(f"--- {mac.name}\n{mac.agent.log_tail(15)}" for mac in self.macs)
        return f"{objects}\n--- operator\n{self.operator.child.log_tail(40)}\n{agents}"

    def _clean_up(self) -> None:
        """Deletes the fleet's objects after the operator has stopped: other tests share the control plane."""
        names = [mac.name for mac in self.macs]
        if names:
            self.control_plane.kubectl("delete", "macagents", "--ignore-not-found", *names)
        for namespace in self._namespaces:
            jobs = self.control_plane.kubectl("get", "abj", "-n", namespace, "-o", "name").split()
            if jobs:
                free = '{"metadata":{"finalizers":null}}'
                self.control_plane.kubectl("patch", *jobs, "-n", namespace, "--type=merge", "-p", free)
            self.control_plane.kubectl("delete", "abj,ash", "--all", "-n", namespace)


def wait_for_processes_to_end(processes: Iterable[psutil.Process], timeout_seconds: float = 15.0) -> None:
    """Raises AssertionError naming the processes that outlive their parent."""
    assert wait_ended(processes, timeout_seconds) == []


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
