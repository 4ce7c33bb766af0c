"""A ledger archive in an S3 bucket. The only module that imports obstore."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from voxfleet_billing.archive_access import MAX_OBJECT_BYTES, ArchiveError, ObjectMissing

CONNECT_SECONDS = 5
REQUEST_SECONDS = 20
RETRY_SECONDS = 20
RETRIES = 3
LONGEST_CAUSE = 300
WITHOUT_REGION = "us-east-1"
FAILURES = (BaseError, OSError, ValueError)
"""What obstore raises."""


class ArchiveBucket:
    def __init__(self, bucket: str, prefix: str, environment: Mapping[str, str] | None = None) -> None:
        """Endpoint, region and keys are those of the standard AWS_ variables; without keys, those of the pod or host.

        Raises ArchiveError.
        """
        values = os.environ if environment is None else environment
        self._bucket, self._prefix = bucket, prefix
        endpoint = values.get("AWS_ENDPOINT_URL_S3") or values.get("AWS_ENDPOINT_URL")
        plain_http = endpoint is not None and endpoint.startswith("http://")
        settings: dict[str, str] = {
            "region": values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or WITHOUT_REGION
        }
        names = {
            "access_key_id": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "AWS_SECRET_ACCESS_KEY",
            "session_token": "AWS_SESSION_TOKEN",
        }
        settings |= {name: values[variable] for name, variable in names.items() if values.get(variable)}
        if endpoint is not None:
            settings["endpoint"] = endpoint
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=settings,  # type: ignore[arg-type] # a TypedDict of the same names
                client_options={
                    "allow_http": plain_http,
                    "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                    "timeout": timedelta(seconds=REQUEST_SECONDS),
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
            )
        except FAILURES as error:
            raise self._error("", error) from error

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, path: str) -> bytes:
        try:
            found = obstore.get(self._store, path)
            if found.meta["size"] > MAX_OBJECT_BYTES:
                raise ArchiveError(
                    f"{self.uri}/{path}: has more than {MAX_OBJECT_BYTES} bytes; VoxFleet wrote no such object"
                )
            return bytes(found.bytes())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(path, error) from error
            raise ObjectMissing(f"{self.uri}/{path}: there is no such object") from error
        except FAILURES as error:
            raise self._error(path, error) from error

    def create(self, path: str, content: bytes) -> bool:
        try:
            obstore.put(self._store, path, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except FAILURES as error:
            raise self._error(path, error) from error
        return True

    def names(self, path: str) -> list[str]:
        try:
            found = obstore.list_with_delimiter(self._store, path or None)
        except FAILURES as error:
            raise self._error(path, error) from error
        objects = [item["path"] for item in found["objects"]]
        return sorted(item.rsplit("/", 1)[-1] for item in (*objects, *found["common_prefixes"]))

    def delete(self, path: str) -> None:
        try:
            obstore.delete(self._store, path)
        except FileNotFoundError:
            return
        except FAILURES as error:
            raise self._error(path, error) from error

    def _error(self, path: str, error: Exception) -> ArchiveError:
        cause = " ".join(str(error).split())[:LONGEST_CAUSE]
        return ArchiveError(
            f"{self.uri}/{path}: {cause}; check that the bucket exists, AWS_ENDPOINT_URL and AWS_REGION, and that the"
            " keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY may get, put, list and delete there"
        )
