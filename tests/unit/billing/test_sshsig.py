"""Signatures over files: ours and those of ssh-keygen check each other."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import PublicFormat as Public

from voxfleet_billing.signing_keys import BadKey, NeedsPassphrase, fingerprint, private_key, public_key, raw_text
from voxfleet_billing.sshsig import NAMESPACE, BadSignature, sign_digest, verify_digest

CONTENT = b"BilledCost,BillingCurrency\n2.40,EUR\n"
DIGEST = hashlib.sha512(CONTENT).digest()


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "bill-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def test_ssh_keygen_accepts_ours(key_file: Path, tmp_path: Path) -> None:
    signature, allowed = tmp_path / "bill.csv.sig", tmp_path / "allowed"
    signature.write_text(sign_digest(DIGEST, private_key(key_file.read_bytes())))
    allowed.write_text(f"finance {key_file.with_suffix('.pub').read_text()}")
    check = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "finance", "-n", NAMESPACE, "-s", str(signature)]
    told = subprocess.run(check, input=CONTENT, capture_output=True, check=False)
    assert told.returncode == 0, told.stderr.decode()
    assert subprocess.run(check, input=CONTENT + b"\n", capture_output=True, check=False).returncode != 0


def test_ours_accepts_that_of_ssh_keygen(key_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_bytes(CONTENT)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key_file, file], check=True)
    text = (tmp_path / "bill.csv.sig").read_text()
    known = public_key(key_file.with_suffix(".pub").read_text())
    assert raw_text(verify_digest(text, DIGEST)) == raw_text(known)
    with pytest.raises(BadSignature, match="not the one that was signed"):
        verify_digest(text, hashlib.sha512(b"other").digest())


def test_a_signature_for_another_purpose_is_refused(key_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_bytes(CONTENT)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", key_file, file], check=True)
    with pytest.raises(BadSignature, match="made for 'git'"):
        verify_digest((tmp_path / "bill.csv.sig").read_text(), DIGEST)


@pytest.mark.parametrize("cut", [*range(0, 240, 7)])
def test_a_broken_signature_is_refused(cut: int) -> None:
    lines = sign_digest(DIGEST, Ed25519PrivateKey.generate()).splitlines()
    body = "".join(lines[1:-1])
    changed = body[:cut] + ("A" if body[cut] != "A" else "B") + body[cut + 1 :]
    for text in (changed, body[:cut]):
        with pytest.raises(BadSignature):
            verify_digest("\n".join((lines[0], text, lines[-1])), DIGEST)


def test_what_is_no_text_of_a_signature_is_refused() -> None:
    lines = sign_digest(DIGEST, Ed25519PrivateKey.generate()).splitlines()
    for body in ("é" + lines[1], "", "\ufffd"):
        with pytest.raises(BadSignature):
            verify_digest("\n".join((lines[0], body, *lines[2:])), DIGEST)


def test_keys_are_read_in_each_form(key_file: Path) -> None:
    key = private_key(key_file.read_bytes())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert raw_text(private_key(pem).public_key()) == raw_text(key.public_key())
    public = key.public_key()
    forms = [
        public.public_bytes(Encoding.OpenSSH, Public.OpenSSH).decode() + " finance@example",
        public.public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo).decode(),
        raw_text(public),
    ]
    assert {raw_text(public_key(form)) for form in forms} == {raw_text(public)}
    shown = subprocess.run(["ssh-keygen", "-l", "-f", key_file], capture_output=True, text=True, check=True).stdout
    assert fingerprint(public) in shown


def test_a_key_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")
    )
    with pytest.raises(NeedsPassphrase):
        private_key(locked)
    with pytest.raises(NeedsPassphrase, match="another one"):
        private_key(locked, b"wrong")
    private_key(locked, b"right")
    path = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", path], check=True)
    with pytest.raises(BadKey, match="no Ed25519 key"):
        private_key(path.read_bytes())
    with pytest.raises(BadKey, match="no Ed25519 key"):
        public_key(path.with_suffix(".pub").read_text())
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "words", "-f", tmp_path / "locked"], check=True)
    with pytest.raises(NeedsPassphrase):
        private_key((tmp_path / "locked").read_bytes())
    with pytest.raises(BadKey, match="no private key"):
        private_key(b"nothing")
    with pytest.raises(BadKey, match="none of"):
        public_key("bm90aGluZw==")
