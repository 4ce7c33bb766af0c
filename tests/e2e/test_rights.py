"""The chart's rights are what the operator needs in a fleet's life: no more, and no less."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import CONTRACT, EXPECTED, Fleet
from tests.rig.api_server import ApiServer
from tests.rig.rights import RoleWithout, bound_to, requests_of, rights_of, unneeded

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_api.kinds import KINDS, MachineHourStatement, Resource, VoiceEndpoint
from voxfleet_api.moments import timestamp
from voxfleet_dev.api_request import ApiRequests, RequestRefused
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.mac import IDENTITY_SECRET
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Kube
from voxfleet_operator.queue import WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.schedule.slot_job import job_name
from voxfleet_operator.reconcile.status_writer import read_again
from voxfleet_operator.registry import triggers

NAMESPACE, OTHER, OPERATOR_NAMESPACE = "rights", "rights-other", "rights-system"
CLIPS = [*EXPECTED][:4]
SECRET = "s3-calls"
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[Fleet]:
    """One Mac; the operator has a namespace of its own, and may get the Mac's two Secrets there."""
    for namespace in (NAMESPACE, OTHER):
        served_kinds.kubectl("create", "namespace", namespace)
    values = {"fleetSecrets": {"names": [IDENTITY_SECRET, f"{NAMESPACE}-mac-a"]}}
    account = OperatorAccount(served_kinds, OPERATOR_NAMESPACE, values)
    with Fleet(served_kinds, tmp_path, NAMESPACE, macs=1, account=account) as made:
        yield made


def test_a_fleet_s_life_uses_every_right_and_lacks_none(fleet: Fleet) -> None:
    fleet.start()
    mine = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    fleet.register(fleet.macs[0], {"access": [{"namespaceSelector": mine, "uriPrefixes": [f"file://{fleet.shared}/"]}]})
    fleet.submit("plain", CLIPS)
    assert is_true(fleet.wait_for_end("plain").status.conditions, ConditionType.COMPLETE), fleet.explain()
    its_secret_waits_for_what_its_condition_says(fleet)
    nightly = a_schedule_runs(fleet)
    an_endpoint_waits(fleet)
    another_namespace_reaches_nothing(fleet)
    with ApiServer(fleet.control_plane) as server:
        seen = [found for kind in KINDS for found in server.list(kind, NAMESPACE)[:1]]
    fleet.control_plane.kubectl("delete", "ve", "captions", "-n", NAMESPACE, "--timeout=60s")
    fleet.control_plane.kubectl("delete", "mac", fleet.macs[0].name, "--timeout=60s")
    with ApiServer(fleet.control_plane) as server:  # a Mac that goes has its statement written at once
        statement = f"{fleet.macs[0].name}-{datetime.now(UTC):%Y-%m}"
        fleet.wait_for("the statement", lambda: any(written(server, statement)))
        seen += written(server, statement)
    # It looks at what is over once a minute, and at once when it is changed.
    fleet.control_plane.kubectl("annotate", "abs/nightly", "-n", NAMESPACE, "looked-at=again")
    fleet.wait_for("the schedule clears up what the statement counts", lambda: nightly not in jobs(fleet))
    fleet.control_plane.kubectl("delete", "abj", "--all", "-n", NAMESPACE, "--timeout=60s")
    assert {type(one) for one in seen} == set(KINDS)
    asyncio.run(reads_after_conflicts(fleet, seen))
    fleet.operator.stop()
    each_right_is_needed(fleet)


def its_secret_waits_for_what_its_condition_says(fleet: Fleet) -> None:
    metadata = {"name": SECRET}
    fleet.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": KEYS})
    fleet.submit("secret", CLIPS, credentialsSecretRef=metadata)
    told = fleet.wait_for_condition(
        lambda: fleet.job("secret"), ConditionType.ACCEPTED, "False", Reason.SECRET_FORBIDDEN
    )
    for command in told.message.partition("or run: ")[2].split(" && "):
        fleet.control_plane.kubectl(*shlex.split(command)[1:])
    assert is_true(fleet.wait_for_end("secret").status.conditions, ConditionType.COMPLETE), fleet.explain()


def jobs(fleet: Fleet) -> list[str]:
    return fleet.control_plane.kubectl("get", "abj", "-n", NAMESPACE, "-o", "name").split()


def a_schedule_runs(fleet: Fleet) -> str:
    """Returns its job as kubectl names it."""
    asked = datetime.now(UTC).replace(microsecond=0)
    template = fleet.job("plain").spec.dump()
    fleet.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "AudioBatchSchedule",
            "metadata": {"name": "nightly"},
            "spec": {
                "schedule": "@yearly",
                "requestedAt": timestamp(asked),
                "successfulJobsHistoryLimit": 0,
                "jobTemplate": {"spec": template},
            },
        }
    )
    job = job_name("nightly", asked)
    started = f"audiobatchjob.voxfleet.dev/{job}"
    fleet.wait_for("the slot's job runs", lambda: started in jobs(fleet))
    assert is_true(fleet.wait_for_end(job).status.conditions, ConditionType.COMPLETE), fleet.explain()
    return started


def an_endpoint_waits(fleet: Fleet) -> None:
    """For a Mac with an Interactive pool, which there is none."""
    spec = {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "memoryCap": "1Gi",
    }
    fleet.apply({"apiVersion": API_VERSION, "kind": "VoiceEndpoint", "metadata": {"name": "captions"}, "spec": spec})
    waits = "1 has no Interactive pool"
    fleet.wait_for("an endpoint waits for a pool", lambda: waits in (endpoint(fleet).status.pending_reason or ""))


def endpoint(fleet: Fleet) -> VoiceEndpoint:
    with ApiServer(fleet.control_plane) as server:
        return next(iter(server.list(VoiceEndpoint, NAMESPACE)))


def another_namespace_reaches_nothing(fleet: Fleet) -> None:
    """Neither the first one's contract, Secret nor folders, though the operator may read all of them for it."""
    fleet.namespace = OTHER
    fleet.submit("reader", CLIPS)
    fleet.wait_for_condition(lambda: fleet.job("reader"), ConditionType.ACCEPTED, "False", Reason.CONTRACT_NOT_FOUND)
    fleet.apply(CONTRACT)
    waits = "no access to the job's addresses"
    fleet.wait_for("the Mac is not for it", lambda: waits in (fleet.job("reader").status.pending_reason or ""))
    fleet.submit("thief", CLIPS, credentialsSecretRef={"name": SECRET})
    told = fleet.wait_for_condition(
        lambda: fleet.job("thief"), ConditionType.ACCEPTED, "False", Reason.SECRET_FORBIDDEN
    )
    assert f"Secret {OTHER}/{SECRET}" in told.message
    fleet.submit("climber", CLIPS, credentialsSecretRef={"name": f"../../{NAMESPACE}/secrets/{SECRET}"})
    fleet.wait_for_condition(lambda: fleet.job("climber"), ConditionType.ACCEPTED, "False", Reason.SECRET_NOT_FOUND)
    fleet.control_plane.kubectl("delete", "abj", "--all", "-n", OTHER, "--timeout=60s")
    fleet.namespace = NAMESPACE


def written(server: ApiServer, name: str) -> list[MachineHourStatement]:
    found = server.list(MachineHourStatement)
    return [one for one in found if one.metadata.name == name and one.status.observed_generation >= 0]


async def reads_after_conflicts(fleet: Fleet, seen: Sequence[Resource]) -> None:
    """What the operator does after somebody else has written, which in a quiet fleet nobody does."""
    async with await Kube.connect(fleet.account.kubeconfig) as kube:
        context = Context(
            api=kube,
            cache=Cache(),
            fleet=None,  # type: ignore[arg-type] # no Mac takes part
            leader=None,  # type: ignore[arg-type] # nothing is written
            queue=WorkQueue(),
            triggers=triggers(),
            events=None,  # type: ignore[arg-type] # nothing is told
            options=ReconcileOptions("control-plane"),
            clock=lambda: 0.0,
            now=lambda: datetime.now(UTC),
            synced=lambda: True,
        )
        for resource in seen:
            await read_again(context, resource)


def each_right_is_needed(fleet: Fleet) -> None:
    """The audit log has a request for each, and without it that very request is refused."""
    account, control_plane = fleet.account, fleet.control_plane
    requests = requests_of(control_plane.audit_log, account.user)
    secrets = [request.right for request in requests if request.right.resource == "secrets"]
    assert {right.verb for right in secrets} == {"get"} and all(right.name for right in secrets)

    roles = bound_to(account.manifests(), account.name)
    granted = {right: role for role in roles for right in rights_of(role)}
    assert [str(right) for right in unneeded(granted, requests)] == [], "the chart grants what nothing uses"
    refused = [request.right for request in requests if request.status == 403]
    assert {(right.verb, right.resource) for right in refused} == {("get", "secrets")}, "the chart lacks a right"
    assert {(SECRET, NAMESPACE), (SECRET, OTHER)} <= {(right.name, right.namespace) for right in refused}

    token = yaml.safe_load(account.kubeconfig.read_text())["users"][0]["user"]["token"]
    operator = ApiRequests(control_plane.url, control_plane.ca_file, token)
    for right, role in granted.items():
        request = next(request for request in requests if request.needs(right))
        with RoleWithout(control_plane, account.user, role, right), pytest.raises(RequestRefused) as error:
            operator.call(request.method, request.uri, {} if request.method != "GET" else None)
        assert error.value.status == 403 and f'cannot {right.verb} resource "{right.resource}"' in error.value.message
