"""A real agent process, driven as the operator drives it, without SSH."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import yaml
from tests.rig.job_specs import JobSpecs

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.ledger import SignedRow, public_key, verify
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    AttemptList,
    AttemptState,
    AttemptStatus,
    Event,
    LedgerPage,
    RenewRequest,
    ReportedLadder,
    ShardResult,
)
from voxfleet_api.results import PlanResult
from voxfleet_dev.mac import Mac

TIMEOUT_SECONDS = 120.0
LEASE_SECONDS = 3600


class AgentProcess:
    """A Mac without its sshd. `text` collects every response of the agent."""

    def __init__(
        self,
        folder: Path,
        allow: list[str],
        *,
        python: Path = Path(sys.executable),
        environment: Mapping[str, str] | None = None,
        **config: object,
    ) -> None:
        """`environment` is added to the agent's; `config` replaces fields of its configuration file."""
        self.mac = Mac("mac-1", folder, allow=allow, python=python)
        self._allow = allow
        self.text: list[str] = []
        self._environment = environment
        self._config = config
        headers = {
            "Authorization": f"Bearer {self.mac.token}",
            CONTROL_PLANE_HEADER: "control-plane-1",
            EPOCH_HEADER: "1",
        }
        self._http = httpx.Client(base_url=self.mac.url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        try:
            self.write_files()
            self.mac.restart_agent(self._environment)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write_files(self) -> None:
        """Writes the files that an agent starts with."""
        self.mac.write_files()
        content = yaml.safe_load(self.mac.config_file.read_text())
        self.mac.config_file.write_text(yaml.safe_dump({**content, **self._config}))

    def close(self) -> None:
        """Stops the agent. Safe to repeat."""
        self._http.close()
        self.mac.stop()

    def run_job(self, specs: JobSpecs, credentials: Mapping[str, str] | None = None) -> None:
        """Runs Plan, Process and Finalize, which must succeed."""
        plan = self.plan(specs, credentials)
        done = [(spec, self.succeed(spec, credentials)) for spec in specs.process(plan)]
        self.succeed(specs.finalize(plan, done), credentials)

    def plan(self, specs: JobSpecs, credentials: Mapping[str, str] | None = None) -> PlanResult:
        """Runs only Plan, which must succeed."""
        plan = self.succeed(specs.plan(), credentials).plan
        assert plan is not None
        return plan

    def succeed(
        self, spec: AttemptSpec, credentials: Mapping[str, str] | None = None, ladder: ReportedLadder | None = None
    ) -> ShardResult:
        status = self.run(spec, credentials, ladder)
        assert status.state is AttemptState.SUCCEEDED, status.failure
        assert status.result is not None
        return status.result

    def run(
        self, spec: AttemptSpec, credentials: Mapping[str, str] | None = None, ladder: ReportedLadder | None = None
    ) -> AttemptStatus:
        """Runs one attempt to its end. Raises httpx.TransportError when the agent dies."""
        cursor = self.attempts().cursor
        status = self.put(spec, credentials, ladder=ladder)
        if not status.ended:
            status = self.until_ended(spec, cursor)
        self.status(spec)
        return status

    def put(
        self,
        spec: AttemptSpec,
        credentials: Mapping[str, str] | None = None,
        lease_seconds: int = LEASE_SECONDS,
        ladder: ReportedLadder | None = None,
    ) -> AttemptStatus:
        """Puts an attempt and does not wait for it. Raises httpx.HTTPError, like every call of the agent."""
        body = spec.dump()
        request: dict[str, object] = {
            "specDigest": digest_of(body),
            "spec": body,
            "leaseSeconds": lease_seconds,
            "uriPrefixes": self._allow,
        }
        if credentials is not None:
            request["credentials"] = dict(credentials)
        if ladder is not None:
            request["ladder"] = ladder.dump()
        return AttemptStatus.model_validate_json(self._recorded(self._http.put(_path(spec), json=request)))

    def call(self, method: str, path: str, content: object) -> str:
        return self._recorded(self._http.request(method, path, json=content))

    def delete(self, spec: AttemptSpec) -> None:
        """Deletes an attempt and does not wait for it."""
        self._recorded(self._http.delete(_path(spec)))

    def renew(self, request: RenewRequest) -> None:
        self._recorded(self._http.post("/v1/renew", json=request.dump()))

    def status(self, spec: AttemptSpec) -> AttemptStatus:
        return AttemptStatus.model_validate_json(self.get(_path(spec)))

    def until_ended(self, spec: AttemptSpec, cursor: str) -> AttemptStatus:
        """Follows the events after `cursor` to the attempt's end. Raises httpx.TransportError when the agent dies."""
        for event in self.events(cursor):
            status = event.attempt
            if status is None or (status.shard_uid, status.attempt) != (spec.shard_uid, spec.attempt):
                continue
            if status.ended:
                return status
        raise httpx.RemoteProtocolError("the stream of events ended")

    def events(self, cursor: str) -> Iterator[Event]:
        """Yields the events after `cursor` as they arrive, until the agent ends."""
        with self._http.stream("GET", "/v1/events", params={"after": cursor}) as lines:
            for line in lines.iter_lines():
                self.text.append(line)
                yield Event.model_validate_json(line)

    def attempts(self) -> AttemptList:
        return AttemptList.model_validate_json(self.get("/v1/attempts"))

    def ledger(self) -> tuple[SignedRow, ...]:
        """Returns all rows, verified."""
        rows = LedgerPage.model_validate_json(self.get("/v1/ledger")).rows
        verify(rows, public_key(self.mac.ledger_public_key))
        return rows

    def get(self, path: str) -> str:
        return self._recorded(self._http.get(path))

    def processes(self) -> list[psutil.Process]:
        """Returns the agent and its children."""
        agent = psutil.Process(self.mac.agent.pid)
        return [agent, *agent.children(recursive=True)]

    def _recorded(self, response: httpx.Response) -> str:
        self.text.append(response.text)
        if not response.is_success:
            raise httpx.HTTPStatusError(
                f"{response.status_code}: {response.text}", request=response.request, response=response
            )
        return response.text


def _path(spec: AttemptSpec) -> str:
    return f"/v1/attempts/{spec.shard_uid}/{spec.attempt}"
