"""What a stretch of work cost the control plane: requests, bytes put into etcd, processor time."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.bench.audit import BYSTANDERS, Request, requests
from tests.bench.failure import MeasurementFailed

PUT_BYTES_METRIC = "etcd_debugging_mvcc_total_put_size_in_bytes"


@dataclass(frozen=True)
class LoadReading:
    """Counters at one moment."""

    audit_bytes: int
    put_bytes: int
    cpu_seconds: Mapping[str, float]
    machines_cpu_seconds: Mapping[str, float]


@dataclass(frozen=True)
class ControlPlaneLoad:
    """The work between two readings. Requests of bystanders are left out of the counts, not of the processor time."""

    requests: tuple[Request, ...]
    put_bytes: int
    cpu_seconds: Mapping[str, float]
    machines_cpu_seconds: Mapping[str, float]
    """Of what plays Macs or kubelets: no part of the control plane, but on the same processors."""

    @property
    def counted(self) -> Counter[tuple[str, str]]:
        """Requests by (client, "verb resource")."""
        return Counter((request.client, request.what) for request in self.requests if request.client not in BYSTANDERS)

    @property
    def total_cpu_seconds(self) -> float:
        return sum(self.cpu_seconds.values())


class LoadMeter:
    """Reads the counters of one control plane. `pids` are its processes', `machine_pids` of what plays machines."""

    def __init__(
        self, audit_log: Path, etcd_url: str, pids: Mapping[str, int], machine_pids: Mapping[str, int]
    ) -> None:
        self._audit_log = audit_log
        self._etcd_url = etcd_url
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._machines = {name: psutil.Process(pid) for name, pid in machine_pids.items()}

    def read(self) -> LoadReading:
        """Raises MeasurementFailed, OSError."""
        return LoadReading(
            audit_bytes=self._audit_log.stat().st_size,
            put_bytes=self._put_bytes(),
            cpu_seconds=_cpu_seconds(self._processes),
            machines_cpu_seconds=_cpu_seconds(self._machines),
        )

    def since(self, earlier: LoadReading) -> ControlPlaneLoad:
        """Raises as `read`."""
        now = self.read()
        with self._audit_log.open("rb") as log:
            log.seek(earlier.audit_bytes)
            written = log.read(now.audit_bytes - earlier.audit_bytes).decode()
        return ControlPlaneLoad(
            requests=tuple(requests(written.splitlines(keepends=True))),
            put_bytes=now.put_bytes - earlier.put_bytes,
            cpu_seconds=_growth(earlier.cpu_seconds, now.cpu_seconds),
            machines_cpu_seconds=_growth(earlier.machines_cpu_seconds, now.machines_cpu_seconds),
        )

    def _put_bytes(self) -> int:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._etcd_url}/metrics", timeout=30) as answer:
            return metric_value(answer.read().decode(), PUT_BYTES_METRIC)


def metric_value(exposition: str, name: str) -> int:
    """The value of a metric without labels in Prometheus' text format. Raises MeasurementFailed when it is missing."""
    match = re.search(rf"^{name} (\S+)$", exposition, re.MULTILINE)
    if match is None:
        raise MeasurementFailed(f"etcd tells no {name}; which version is it?")
    return int(float(match.group(1)))


def _cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    found = {}
    for name, process in processes.items():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess as error:
            raise MeasurementFailed(f"{name} has ended; its log says why") from error
        found[name] = float(times.user + times.system)
    return found


def _growth(earlier: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - earlier[name] for name, seconds in now.items()}
