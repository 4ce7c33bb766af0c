"""`voxfleet bill sign` and `bill verify-signature`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from voxfleet_cli.main import app

CSV = b"BilledCost,BillingCurrency\n2.40,EUR\n"


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    path = tmp_path / "bill.csv"
    path.write_bytes(CSV)
    manifest = {"period": "2026-11", "file": {"sha256": hashlib.sha256(CSV).hexdigest()}}
    (tmp_path / "bill.csv.manifest.json").write_text(json.dumps(manifest))
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" us\n")
    return path


def run(*arguments: str | Path, typed: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bill", *map(str, arguments)], input=typed)
    return result.exit_code, result.output


def test_a_signed_export_verifies_with_its_manifest(bill: Path) -> None:
    assert run("verify-signature", bill, "--public-key", bill.parent / "key.pub")[0] == 1
    code, output = run("sign", bill, "--key", bill.parent / "key")
    assert code == 0 and "ssh-keygen -Y check-novalidate -n bill@voxfleet.dev" in output
    assert (bill.parent / "bill.csv.sig").exists() and (bill.parent / "bill.csv.manifest.json.sig").exists()
    code, output = run("verify-signature", bill, "--public-key", bill.parent / "key.pub")
    assert code == 0 and output.count("good signature by SHA256:") == 2
    text = (bill.parent / "key.pub").read_text().strip()
    assert run("verify-signature", bill, "--public-key", text)[0] == 0


def test_signing_twice_gives_the_same_bytes(bill: Path) -> None:
    run("sign", bill, "--key", bill.parent / "key")
    first = (bill.parent / "bill.csv.sig").read_bytes()
    run("sign", bill, "--key", bill.parent / "key")
    assert (bill.parent / "bill.csv.sig").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("bill.csv", CSV + b"1.00,EUR\n", "the file is not the one that was signed"),
        ("bill.csv.manifest.json", b'{"file": {"sha256": "00"}}', "speaks of another file"),
        ("bill.csv.manifest.json", b"[]", "names no sha256"),
        ("bill.csv.sig", b"nothing", "does not consist of"),
    ],
)
def test_what_was_changed_is_refused(bill: Path, name: str, content: bytes, told: str) -> None:
    run("sign", bill, "--key", bill.parent / "key")
    (bill.parent / name).write_bytes(content)
    code, output = run("verify-signature", bill, "--public-key", bill.parent / "key.pub")
    assert code == 1 and told in output


def test_the_signature_of_a_stranger_is_refused(bill: Path) -> None:
    run("sign", bill, "--key", bill.parent / "key")
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    code, output = run("verify-signature", bill, "--public-key", stranger)
    assert code == 1 and "which no --public-key names" in output


def test_an_encrypted_key_asks_for_its_passphrase(bill: Path) -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"words")
    )
    (bill.parent / "locked").write_bytes(locked)
    assert run("sign", bill, "--key", bill.parent / "locked", typed="words\n")[0] == 0
    code, output = run("sign", bill, "--key", bill.parent / "locked", typed="other\n")
    assert code == 2 and "its passphrase is another one" in output


def test_what_cannot_be_read_is_named(bill: Path) -> None:
    assert "nowhere" in run("sign", bill, "--key", "nowhere")[1]
    code, output = run("sign", bill, "--key", bill)
    assert code == 2 and "no private key" in output and "ssh-keygen" in output
    (bill.parent / "latin-1.pub").write_bytes(b"ssh-ed25519 AAAA M\xfcller")
    code, output = run("verify-signature", bill, "--public-key", bill.parent / "latin-1.pub")
    assert code == 2 and "latin-1.pub" in output
    code, output = run("verify-signature", bill, "--public-key", "nothing")
    assert code == 2 and "--public-key nothing" in output
