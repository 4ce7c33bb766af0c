"""`voxfleet accept` when its trial does not come to an end: the job is cancelled, and somebody is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api.specs import MAC, changed

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_cli.acceptance.trial import run_trial
from voxfleet_cli.command_line import Refused
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube

NAME = "tried-mac"
TRIAL = """
import json, sys
from pathlib import Path
import typer
from voxfleet_api.kinds import MacAgent
from voxfleet_cli.acceptance.trial import run_trial
from voxfleet_cli.command_line import with_kube

async def work(kube):
    await run_trial(kube, await kube.get(MacAgent, "", sys.argv[2]), json.loads(sys.argv[3]), 600)

def main():
    with_kube(Path(sys.argv[1]), None, work)

app = typer.Typer()
app.command()(main)
app(args=[])
"""


@pytest.fixture
def tried_mac(installed_crds: ControlPlane) -> Iterator[str]:
    installed_crds.apply(changed(MAC, {"metadata.name": NAME}))
    yield NAME
    installed_crds.kubectl("delete", "mac", NAME)


def trial_of(namespace: str) -> dict[str, Any]:
    spec = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    metadata = {"name": "accept-tried-mac-1", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": metadata, "spec": spec}


async def looked_at(control_plane: ControlPlane, namespace: str) -> None:
    """The job does not go on, and the Mac is free for another trial."""
    async with await Kube.connect(control_plane.kubeconfig) as kube:
        job = await kube.get(AudioBatchJob, namespace, "accept-tried-mac-1")
        mac = await kube.get(MacAgent, "", NAME)
    assert job is not None and job.spec.cancel
    assert mac is not None and mac.spec.acceptance_job is None


async def test_a_trial_that_takes_too_long_is_cancelled(
    installed_crds: ControlPlane, namespace: str, tried_mac: str
) -> None:
    async with await Kube.connect(installed_crds.kubeconfig) as kube:
        mac = await kube.get(MacAgent, "", tried_mac)
        assert mac is not None
        told = (
            rf"has not ended within 0.1 s; job accept-tried-mac-1 \(namespace {namespace}\) was cancelled: nobody has"
        )
        with pytest.raises(Refused, match=told):
            await run_trial(kube, mac, trial_of(namespace), 0.1)
    await looked_at(installed_crds, namespace)


def test_a_trial_that_is_interrupted_is_cancelled_and_says_so(
    installed_crds: ControlPlane, namespace: str, tried_mac: str
) -> None:
    command = [sys.executable, "-c", TRIAL, str(installed_crds.kubeconfig), tried_mac, json.dumps(trial_of(namespace))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "job accept-tried-mac-1: nobody has seen it\n"
        os.kill(running.pid, signal.SIGINT)
        said = running.stderr.read()
    assert f"voxfleet: interrupted; job accept-tried-mac-1 (namespace {namespace}) was cancelled" in said
    assert running.returncode not in (0, None) and "Traceback" not in said
    asyncio.run(looked_at(installed_crds, namespace))
