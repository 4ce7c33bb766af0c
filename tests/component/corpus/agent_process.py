"""A real agent process, driven as the operator drives it, without SSH."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import yaml
from tests.component.corpus.job_specs import JobSpecs

from voxfleet_api.digest import digest_of
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    TERMINAL_STATES,
    AttemptSpec,
    AttemptState,
    AttemptStatus,
    Event,
    ShardResult,
)
from voxfleet_dev.mac import Mac

PATIENCE_SECONDS = 120.0


class AgentProcess:
    """A Mac without its sshd. `text` collects every answer that the agent gave."""

    def __init__(
        self, folder: Path, allow: list[str], *, python: Path = Path(sys.executable), **config: object
    ) -> None:
        """`config` replaces fields of the agent's configuration file."""
        self.mac = Mac("mac-1", folder, allow=allow, python=python)
        self.text: list[str] = []
        self._config = config
        headers = {
            "Authorization": f"Bearer {self.mac.token}",
            CONTROL_PLANE_HEADER: "control-plane-1",
            EPOCH_HEADER: "1",
        }
        self._http = httpx.Client(base_url=self.mac.url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        self.mac.write_files()
        content = yaml.safe_load(self.mac.config_file.read_text())
        self.mac.config_file.write_text(yaml.safe_dump({**content, **self._config}))
        try:
            self.mac.restart_agent()
        except BaseException:
            self.mac.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self.mac.stop()

    def run_job(self, specs: JobSpecs, credentials: Mapping[str, str] | None = None) -> None:
        """Plan, Process and Finalize, all of which must succeed."""
        plan = self.succeed(specs.plan(), credentials).plan
        assert plan is not None
        done = [(spec, self.succeed(spec, credentials)) for spec in specs.process(plan)]
        self.succeed(specs.finalize(plan, done), credentials)

    def succeed(self, spec: AttemptSpec, credentials: Mapping[str, str] | None = None) -> ShardResult:
        status = self.run(spec, credentials)
        assert status.state is AttemptState.SUCCEEDED, status.failure
        assert status.result is not None
        return status.result

    def run(self, spec: AttemptSpec, credentials: Mapping[str, str] | None = None) -> AttemptStatus:
        """Runs one attempt to its end."""
        cursor = json.loads(self.get("/v1/attempts"))["cursor"]
        answer = self.put(spec, credentials)
        assert answer.is_success, answer.text
        status = AttemptStatus.model_validate_json(answer.text)
        with self._http.stream("GET", "/v1/events", params={"after": cursor}) as events:
            for line in events.iter_lines():
                self.text.append(line)
                found = Event.model_validate_json(line).attempt
                if found is not None and (found.shard_uid, found.attempt) == (spec.shard_uid, spec.attempt):
                    status = found
                if status.state in TERMINAL_STATES:
                    break
        self.get(_path(spec))
        return status

    def put(self, spec: AttemptSpec, credentials: Mapping[str, str] | None = None) -> httpx.Response:
        """Orders an attempt, and does not wait for it."""
        body = spec.dump()
        request = {"specDigest": digest_of(body), "spec": body, "leaseSeconds": 600}
        if credentials is not None:
            request["credentials"] = dict(credentials)
        answer = self._http.put(_path(spec), json=request)
        self.text.append(answer.text)
        return answer

    def get(self, path: str) -> str:
        answer = self._http.get(path)
        self.text.append(answer.text)
        assert answer.is_success, answer.text
        return answer.text

    def processes(self) -> list[psutil.Process]:
        """The agent and its children."""
        agent = psutil.Process(self.mac.agent.pid)
        return [agent, *agent.children(recursive=True)]


def _path(spec: AttemptSpec) -> str:
    return f"/v1/attempts/{spec.shard_uid}/{spec.attempt}"
