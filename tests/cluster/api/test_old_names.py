"""An object with a name of before is refused by the API server, which names the field. There is no conversion."""

from __future__ import annotations

import re

import pytest
from tests.cluster.api.specs import JOB, MAC, REMOVE, Json, changed
from tests.rig.api_server import ApiServer, Refused

from voxfleet_dev.locations import REPOSITORY

SECRET_KEY = {"name": "s", "key": "k"}
OLD: dict[str, tuple[Json, dict[str, object], str]] = {
    "spec.credentialsRef": (JOB, {"spec.credentialsRef": {"name": "s3"}}, 'unknown field "spec.credentialsRef"'),
    "spec.model: {path: default}": (JOB, {"spec.model": {"path": "default"}}, "builtin: {name: commands}"),
    "no `spec.model`": (JOB, {"spec.model": REMOVE}, "spec.model: Required value"),
    "spec.ssh.identityRef": (
        MAC,
        {"spec.ssh.identitySecretRef": REMOVE, "spec.ssh.identityRef": SECRET_KEY},
        'unknown field "spec.ssh.identityRef"',
    ),
    "spec.tokenRef": (
        MAC,
        {"spec.tokenSecretRef": REMOVE, "spec.tokenRef": SECRET_KEY},
        'unknown field "spec.tokenRef"',
    ),
    "no `access[].namespaceSelector`": (
        MAC,
        {"spec.access": [{"uriPrefixes": ["file:///data/"]}]},
        "spec.access[0].namespaceSelector: Required value",
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_refused_strictly(server: ApiServer, name: str) -> None:
    base, changes, answer = OLD[name]
    with pytest.raises(Refused) as caught:
        server.create(changed(base, changes), dry_run=True)
    assert answer in str(caught.value)


def test_the_changelog_has_the_table_of_old_names_and_new_ones() -> None:
    rows = re.findall(r"^  \| (.+) \| (.+) \|$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    before = " ".join(old for old, _ in rows)
    assert not [name for name in OLD if name not in before]
