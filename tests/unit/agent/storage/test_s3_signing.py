"""Signatures against the examples that AWS publishes in "Signature Calculations for the Authorization Header"."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from voxfleet_agent.storage.s3_signing import EMPTY_SHA256, encode_path, encode_query, sign_request
from voxfleet_api.protocol import S3Credentials

EXAMPLE = S3Credentials(
    access_key_id=SecretStr("AKIAIOSFODNN7EXAMPLE"),
    secret_access_key=SecretStr("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
)
HOST = {"Host": "examplebucket.s3.amazonaws.com"}
NOW = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            [],
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            [],
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/", [("lifecycle", "")], {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "empty query", "list"],
)
def test_published_examples(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], body: bytes, signature: str
) -> None:
    sha256 = hashlib.sha256(body).hexdigest()
    sent = sign_request(
        method, encode_path(path), encode_query(query), {**HOST, **headers}, sha256, EXAMPLE, "us-east-1", NOW
    )
    assert sent["Authorization"].endswith(f"Signature={signature}")
    assert "wJalrXUtnFEMI" not in str(sent)


def test_a_session_token_is_sent_and_signed() -> None:
    credentials = EXAMPLE.model_copy(update={"session_token": SecretStr("TOKEN")})
    sent = sign_request("GET", "/x", "", HOST, EMPTY_SHA256, credentials, "eu-west-1", NOW)
    assert sent["x-amz-security-token"] == "TOKEN"
    assert "x-amz-security-token" in sent["Authorization"]
    assert "/eu-west-1/s3/" in sent["Authorization"]


def test_encoding() -> None:
    assert encode_path("/bucket/a b+c~ü$&?#.wav") == "/bucket/a%20b%2Bc~%C3%BC%24%26%3F%23.wav"
    assert encode_query([("b", "/=&"), ("a", "~ ")]) == "a=~%20&b=%2F%3D%26"
