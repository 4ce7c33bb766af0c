"""The record of an acceptance: what it cites, who signed it, and that no byte of it can be changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.rig.acceptance_objects import BASELINE, ROWS, a_mac, a_record, a_row, a_trial
from tests.unit.operator.decisions.bodies import job_body
from typer.testing import CliRunner

from voxfleet_api.acceptance import parse_record
from voxfleet_api.digest import sha256_hex
from voxfleet_api.kinds.mac_acceptance import ACCEPTS_MAC
from voxfleet_api.ranges import decode
from voxfleet_billing.signing_keys import raw_text
from voxfleet_billing.sshsig import sign_digest
from voxfleet_cli.acceptance.peak_slice import peak_rows, peak_slice
from voxfleet_cli.acceptance.record import OtherMachine
from voxfleet_cli.acceptance.record_file import NotProven, UnusableFile, read_key, verified_record, write_record
from voxfleet_cli.acceptance.trial_job import trial_job, trial_name
from voxfleet_cli.command_line import Refused
from voxfleet_cli.main import app

KEY = Ed25519PrivateKey.generate()
PUBLIC = raw_text(KEY.public_key())


def test_the_record_names_all_that_it_rests_on() -> None:
    billing = {"lessor": "acme", "sku": "m4pro-48", "billingKey": "ACME-4711"}
    rental = {"rentalStart": "2026-11-01T00:00:00Z", "rentalEnd": "2026-12-01T00:00:00Z"}
    found = a_record(mac=a_mac(billing=billing, availability=rental))
    assert found.passed and found.machine.hardware_id == "hw-1" and found.machine.boot_id == "boot-1"
    assert found.rental.dump() == {**billing, **rental}
    assert found.rows == (ROWS,) and found.slice.indexes == "0-3"
    assert parse_record(found.content()) == found
    told = found.acceptance()
    assert told.record_sha256 == sha256_hex(found.content()) and told.lines == found.lines and told.passed


@pytest.mark.parametrize("change", [{"hardware_id": "hw-2"}, {"ledger_key": "B" * 43 + "="}])
def test_rows_of_another_machine_make_no_record(change: dict[str, str]) -> None:
    trial = a_trial(*BASELINE.rows.values(), cited=(ROWS.model_copy(update=change),))
    with pytest.raises(OtherMachine, match="try the Mac again"):
        a_record(trial)


def test_no_changed_or_cut_record_passes(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_record(file, a_record(), KEY)
    content = file.read_bytes()
    assert verified_record(file, [PUBLIC])[0] == a_record()
    for place in range(0, len(content), 17):
        for changed in (content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], content[:place]):
            file.write_bytes(changed)
            with pytest.raises(NotProven, match="not the one that was signed"):
                verified_record(file, [PUBLIC])


def test_whose_signature_counts(tmp_path: Path) -> None:
    file, beside = tmp_path / "record.json", tmp_path / "record.json.sig"
    write_record(file, a_record(), KEY)
    other = raw_text(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(NotProven, match="which no --public-key names"):
        verified_record(file, [other])
    beside.write_text(sign_digest(bytes(64), KEY))
    with pytest.raises(NotProven, match="it was made for"):
        verified_record(file, [PUBLIC])
    beside.unlink()
    with pytest.raises(NotProven, match="is not signed"):
        verified_record(file, [PUBLIC])
    with pytest.raises(UnusableFile, match="--public-key nonsense"):
        verified_record(file, ["nonsense"])


def test_a_record_with_a_verdict_of_its_own_is_none() -> None:
    lying = a_record().model_copy(update={"passed": False})
    with pytest.raises(ValueError, match="not that of its lines"):
        parse_record(lying.content())
    with pytest.raises(ValueError, match="written anew"):
        parse_record(a_record().content().replace(b'","', b'", "', 1))


def test_verify_on_the_command_line(tmp_path: Path) -> None:
    passed, not_passed = tmp_path / "a.json", tmp_path / "b.json"
    write_record(passed, a_record(), KEY)
    write_record(not_passed, a_record(a_trial(*BASELINE.rows.values(), scratch={"residueBytes": 1})), KEY)
    codes = {
        name: CliRunner().invoke(app, ["accept", "verify", str(file), "--public-key", PUBLIC])
        for name, file in (("passed", passed), ("not passed", not_passed))
    }
    assert {name: found.exit_code for name, found in codes.items()} == {"passed": 0, "not passed": 1}
    assert all(": " + name in found.stdout for name, found in codes.items())
    assert (
        CliRunner().invoke(app, ["accept", "verify", str(tmp_path / "c.json"), "--public-key", PUBLIC]).exit_code == 2
    )
    lacking = CliRunner().invoke(app, ["accept", "--mac", "mac-a"])
    assert lacking.exit_code == 2 and "--baseline" in lacking.stderr


def test_a_key_that_cannot_sign_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(UnusableFile, match="No such file"):
        read_key(file)
    file.write_text("nothing")
    with pytest.raises(UnusableFile, match="no private key"):
        read_key(file)
    file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert raw_text(read_key(file).public_key()) == PUBLIC


def test_the_slice_is_the_longest_clips_with_a_result() -> None:
    rows = {
        0: a_row(0, audio_milliseconds=5000),
        1: a_row(1, audio_milliseconds=9000, status="failed"),
        2: a_row(2, audio_milliseconds=7000),
        3: a_row(3, audio_milliseconds=7000),
        4: a_row(4, audio_milliseconds=6000),
    }
    assert list(peak_rows(rows, 2)) == [2, 3] and list(peak_rows(rows, 3)) == [2, 3, 4]
    assert list(peak_rows(rows, 99)) == [0, 2, 3, 4]
    chosen = peak_slice(peak_rows(rows, 3))
    assert decode(chosen.indexes) == [2, 3, 4] and (chosen.clips, chosen.audio_milliseconds) == (3, 20_000)
    assert chosen == peak_slice(peak_rows(dict(reversed(rows.items())), 3)), "whatever order they are read in"


def test_the_trial_is_the_users_job_on_one_mac() -> None:
    body = job_body("nightly", macSelector={"matchLabels": {"site": "b"}}, suspend=True, billingKey="team-speech")
    body["apiVersion"] = "voxfleet.dev/v1alpha1"
    found = trial_job(body, a_mac(taints=[{"key": "rented"}]), "2-4", "accept-mac-a-1")
    assert found["metadata"] == {
        "name": "accept-mac-a-1",
        "namespace": "team",
        "annotations": {ACCEPTS_MAC: "mac-a"},
    }
    assert found["spec"] == {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///data/in/"}},
        "output": {"uri": "file:///data/out/"},
        "billingKey": "team-speech",
        "only": "2-4",
        "parallelism": 2,
        "tolerations": [{"operator": "Exists"}],
    }
    with pytest.raises(Refused, match="runs clips of another one again"):
        trial_job(job_body(source={"jobRef": {"name": "other"}}), a_mac(), "0", "name")
    assert len(trial_name("m" * 253, "abcdef")) == 52
