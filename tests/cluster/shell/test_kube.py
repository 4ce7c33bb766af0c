"""The client against a real API server: typed errors, conditional writes, deletes of this very object."""

from __future__ import annotations

import asyncio
import base64
import shlex

import pytest

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, VoiceContract
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.kube_errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    SecretForbidden,
    SecretNotFound,
)

PATIENCE_SECONDS = 30.0
DIGEST = f"sha256:{'a' * 64}"


def contract(name: str, namespace: str) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "VoiceContract",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}},
    }


async def test_create_answers_with_defaults_and_refuses_a_second_one(kube: Kube, namespace: str) -> None:
    created = await kube.create(contract("calls", namespace))
    assert created["status"] == {"observedGeneration": -1}
    assert created["spec"]["quarantine"] == {"maxClips": 100, "maxPercent": 2}
    with pytest.raises(AlreadyExists):
        await kube.create(contract("calls", namespace))
    found = await kube.get(VoiceContract, namespace, "calls")
    assert found is not None
    assert found.spec.input.max_clip_bytes == "200Mi"
    assert await kube.get(VoiceContract, namespace, "nobody") is None


async def test_a_bad_object_is_refused_with_a_message_that_names_the_field(kube: Kube, namespace: str) -> None:
    bad = contract("bad", namespace)
    bad["spec"]["input"]["containers"] = ["ogg"]
    with pytest.raises(Invalid, match=r"spec\.input\.containers"):
        await kube.create(bad)


async def test_a_conditional_status_apply_conflicts_when_the_object_has_changed(kube: Kube, namespace: str) -> None:
    await kube.create(contract("calls", namespace))
    read = await kube.get(VoiceContract, namespace, "calls")
    assert read is not None
    version = read.metadata.resource_version
    written = await kube.apply_status(VoiceContract, namespace, "calls", {"observedGeneration": 1}, version)
    assert written.status.observed_generation == 1
    with pytest.raises(Conflict):
        await kube.apply_status(VoiceContract, namespace, "calls", {"observedGeneration": 2}, version)
    unchanged = await kube.get(VoiceContract, namespace, "calls")
    assert unchanged == written
    await kube.apply_status(VoiceContract, namespace, "calls", {"observedGeneration": 3})


async def test_a_status_apply_takes_back_what_it_no_longer_says(kube: Kube, namespace: str) -> None:
    await kube.create(contract("calls", namespace))
    await kube.apply_status(VoiceContract, namespace, "calls", {"observedGeneration": 1, "digest": DIGEST})
    written = await kube.apply_status(VoiceContract, namespace, "calls", {"observedGeneration": 1})
    assert written.status.digest is None


async def test_the_status_of_an_object_that_is_gone_is_not_found(kube: Kube, namespace: str) -> None:
    with pytest.raises(NotFound):
        await kube.apply_status(VoiceContract, namespace, "nobody", {"observedGeneration": 1})


async def test_finalizers_are_conditional_and_hold_a_deletion(kube: Kube, namespace: str) -> None:
    await kube.create(contract("calls", namespace))
    read = await kube.get(VoiceContract, namespace, "calls")
    assert read is not None
    version = read.metadata.resource_version
    held = await kube.set_finalizers(VoiceContract, namespace, "calls", ["voxfleet.dev/cleanup"], version)
    assert held.metadata.finalizers == ("voxfleet.dev/cleanup",)
    with pytest.raises(Conflict):
        await kube.set_finalizers(VoiceContract, namespace, "calls", [], version)
    await kube.delete(VoiceContract, namespace, "calls", held.metadata.uid)
    leaving = await kube.get(VoiceContract, namespace, "calls")
    assert leaving is not None
    assert leaving.metadata.deletion_timestamp is not None
    await kube.set_finalizers(VoiceContract, namespace, "calls", [], leaving.metadata.resource_version)
    assert await kube.get(VoiceContract, namespace, "calls") is None


async def test_delete_spares_a_namesake_and_repeats_without_an_error(kube: Kube, namespace: str) -> None:
    await kube.create(contract("calls", namespace))
    await kube.delete(VoiceContract, namespace, "calls", "another-uid")
    read = await kube.get(VoiceContract, namespace, "calls")
    assert read is not None
    for _ in range(2):
        await kube.delete(VoiceContract, namespace, "calls", read.metadata.uid)
    assert await kube.get(VoiceContract, namespace, "calls") is None


async def test_a_list_goes_over_all_pages(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxfleet_operator.kube.PAGE_SIZE", 2)
    for number in range(5):
        await kube.create(contract(f"c-{number}", namespace))
    listed, version = await kube.list(VoiceContract, namespace)
    assert [item.metadata.name for item in listed] == [f"c-{number}" for number in range(5)]
    assert int(version) >= max(int(item.metadata.resource_version) for item in listed)
    assert (await kube.list(AudioBatchJob, namespace))[0] == []


async def test_secrets(kube: Kube, namespace: str, control_plane: ControlPlane) -> None:
    data = {"token": base64.b64encode(b"abc\x00").decode()}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}, namespace=namespace
    )
    assert await kube.secret(namespace, "s") == {"token": b"abc\x00"}
    with pytest.raises(SecretNotFound, match=f"{namespace}/nobody"):
        await kube.secret(namespace, "nobody")


@pytest.mark.parametrize("told", ["../../{other}/secrets/theirs", "..%2F..%2F{other}%2Fsecrets%2Ftheirs", ".", ".."])
async def test_a_name_in_a_spec_leads_to_no_other_place(
    kube: Kube, namespace: str, control_plane: ControlPlane, told: str
) -> None:
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}}
    control_plane.apply(theirs, namespace="default")
    with pytest.raises(SecretNotFound, match=f"Secret {namespace}/"):
        await kube.secret(namespace, told.format(other="default"))


async def test_a_name_in_a_spec_becomes_no_command_for_an_admin(stranger: Kube, namespace: str) -> None:
    told = "x; kubectl create clusterrolebinding mine --clusterrole=cluster-admin --user=me"
    with pytest.raises(SecretNotFound):
        await stranger.secret(namespace, told)


async def test_the_commands_of_a_forbidden_secret_grant_that_one_and_no_other(
    stranger: Kube, namespace: str, installed_crds: ControlPlane
) -> None:
    with pytest.raises(SecretForbidden) as refused:
        await stranger.secret(namespace, "s3-calls")
    commands = str(refused.value).partition("or run: ")[2].split(" && ")
    assert len(commands) == 2
    for command in commands:
        installed_crds.kubectl(*shlex.split(command)[1:])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:  # the API server learns of rights by a watch of its own
            try:
                await stranger.secret(namespace, "s3-calls")
            except SecretForbidden:
                await asyncio.sleep(0.02)
            except SecretNotFound:
                break
    with pytest.raises(SecretForbidden):
        await stranger.secret(namespace, "another")
    with pytest.raises(Forbidden):
        await stranger.list(VoiceContract)


async def test_the_control_plane_has_an_identity(kube: Kube) -> None:
    assert len(await kube.kube_system_uid()) == 36
