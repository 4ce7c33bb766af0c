"""AWS Signature Version 4 for S3. Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from voxfleet_api.protocol import S3Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def encode_path(path: str) -> str:
    """Raises UnicodeEncodeError for lone surrogates."""
    return quote(path, safe="/~")


def encode_query(query: Sequence[tuple[str, str]]) -> str:
    """The query in the sorted form that is signed; send exactly this."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign_request(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_sha256: str,
    credentials: S3Credentials,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers to send, including `Authorization`.

    `path` and `query` must be encoded. `headers` must include `Host`; all of them are signed.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    token = credentials.session_token
    sent = {
        **headers,
        "x-amz-content-sha256": body_sha256,
        "x-amz-date": stamp,
        **({"x-amz-security-token": token.get_secret_value()} if token else {}),
    }
    signed = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (method, path, query, *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, body_sha256)
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_access_key.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{credentials.access_key_id.get_secret_value()}/{scope}"
    return {
        **sent,
        "Authorization": f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}",
    }
