"""The command `voxfleet-agent` in the test's own process: a start of Python costs more than most commands do."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from voxfleet_agent import core_dumps, logs
from voxfleet_agent.main import app


def invoke(*words: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """For commands that neither serve nor load a model. `environment`: all of it; None: the test's own."""
    variables: dict[str, str | None] = {}
    if environment is not None:
        variables = {**dict.fromkeys(os.environ), **environment}
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        # Both would change this process for good.
        patch.setattr(core_dumps, "hide_memory", lambda: None)
        patch.setattr(logs, "configure", lambda: None)
        # Handlers of earlier tests write to streams that are closed by now.
        patch.setattr(logging.getLogger(), "handlers", [])
        ended = CliRunner().invoke(app, [*map(str, words)], env=variables)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return subprocess.CompletedProcess(words, ended.exit_code, ended.stdout, ended.stderr)
