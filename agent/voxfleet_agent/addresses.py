"""Object addresses, and which of them an agent may touch. Pure: no file system is asked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import quote, unquote

from voxfleet_api.failures import FailureClass, VoxFleetError


class Scheme(StrEnum):
    FILE = "file"
    S3 = "s3"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an object is stored."""

    scheme: Scheme
    authority: str
    """Nothing for a local file, the bucket for S3, and host and port in lower case for https: `example.com:443`."""
    key: str
    """Literal, but percent-encoded for an https address. One slash at the end of an address is not part of it."""
    query: str = ""
    """The query of an https address without the question mark. It may be secret, as in a presigned URL."""

    @property
    def path(self) -> str:
        """A local file's absolute path."""
        return f"/{self.key}"

    def __repr__(self) -> str:
        return f"Address({self.scheme}, …)"  # clip names and presigned queries stay out of tracebacks


_OUTSIDE_AGENT = (
    "the address lies outside what this agent may touch; add its prefix to `allow` in the agent's file or, for a run"
    " without one, with --allow"
)
_OUTSIDE_NAMESPACE = (
    "the address lies outside what this Mac may touch for the job's namespace; add its prefix to spec.access of the"
    " MacAgent, or name an object that the namespace may read"
)


class AllowList:
    """The prefixes that attempts may read and write below."""

    def __init__(self, prefixes: Iterable[str], refusal: str = _OUTSIDE_AGENT) -> None:
        """`refusal`: the message about an address outside. Raises VoxFleetError for a prefix that is no address."""
        parsed = [parse_address(prefix) for prefix in prefixes]
        self._allowed = [(address.scheme, address.authority, address.key) for address in parsed]
        self._refusal = refusal

    @classmethod
    def of_namespace(cls, prefixes: Iterable[str]) -> Self:
        """What MacAgent.spec.access opens to a namespace. A prefix that is no address opens nothing."""
        return cls(filter(_is_address, prefixes), _OUTSIDE_NAMESPACE)

    @property
    def folders(self) -> list[str]:
        """The allowed local folders, as they were written."""
        return [f"/{key}" for scheme, _, key in self._allowed if scheme is Scheme.FILE]

    def resolve(self, uri: str) -> Address:
        """The address behind a URI. Raises VoxFleetError(ACCESS_DENIED).

        URIs are literal, as S3 keys are: `%20` is three characters of a name. A local path may still lead out through a
        link, which LocalFiles refuses.
        """
        address = parse_address(uri)
        if any(
            (address.scheme, address.authority) == (scheme, authority) and _below(address.key, prefix)
            for scheme, authority, prefix in self._allowed
        ):
            return address
        raise _denied(self._refusal)

    def covers(self, uri: str) -> bool:
        try:
            self.resolve(uri)
        except VoxFleetError:
            return False
        return True


def _is_address(uri: str) -> bool:
    try:
        parse_address(uri)
    except VoxFleetError:
        return False
    return True


def parse_address(uri: str) -> Address:
    """Parses a URI. Raises VoxFleetError(ACCESS_DENIED) unless it is absolute and, but for S3's keys, normalized.

    S3's keys are literal texts in which no slash, dot or percent sign has a meaning. Local names are literal too, but
    `.` and `..` are no names. What a web server makes of an odd path nobody knows, so https addresses are strict.
    """
    scheme, separator, rest = uri.partition("://")
    authority, _, key = rest.partition("/")
    if not separator or scheme not in tuple(Scheme) or (scheme == Scheme.FILE) != (authority == ""):
        raise _denied("the address is none of file:///folder/name, s3://bucket/name and https://host/name")
    if scheme == Scheme.HTTPS:
        return _parse_https(rest)
    if scheme == Scheme.S3 and not _BUCKET.fullmatch(authority):
        raise _denied("the address names no bucket; write s3://bucket/name")
    if scheme == Scheme.S3 and key and not key.strip("/"):
        raise _denied("the address names nothing but slashes; write s3://bucket/name")
    key = key.removesuffix("/")
    if scheme == Scheme.FILE and key and any(part in ("", ".", "..") for part in key.split("/")):
        raise _denied("the address has an empty part, `.` or `..`; write it in its shortest form")
    if scheme == Scheme.FILE and "\0" in key:
        raise _denied("the address has a NUL character, which no file's name has")
    return Address(Scheme(scheme), authority, key)


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNESCAPED = "!$&'()*+,;=:@/%~"
HTTPS_PORT = 443


def _parse_https(rest: str) -> Address:
    location, _, query = rest.partition("?")
    authority, _, key = location.partition("/")
    if "#" in rest or any(character <= " " or character == "\x7f" for character in rest):
        raise _denied("the https address has a space, a control character or a fragment; encode them")
    if _BROKEN_ESCAPE.search(location):
        raise _denied("the https address has a percent sign that begins no escape; write %25")
    key = quote(key.removesuffix("/"), safe=_UNESCAPED)
    _check_web_path(key)
    return Address(Scheme.HTTPS, parse_authority(authority), key, quote(query, safe=f"{_UNESCAPED}?[]"))


def parse_authority(text: str, default_port: int = HTTPS_PORT) -> str:
    """`Example.com` -> `example.com:443`.

    Raises VoxFleetError(ACCESS_DENIED) for user names, invalid ports and IP addresses in an unusual form.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise _denied("the address's host is not a plain name or IP address; write https://host/name, without a user")
    host, port = match["host"].lower(), int(match["port"] or default_port)
    if not 1 <= port <= 65535:
        raise _denied("the address's port is not between 1 and 65535")
    if host.startswith("[") or _is_number(host.rpartition(".")[2]):
        try:
            literal = ipaddress.ip_address(host.strip("[]"))
        except ValueError as error:
            # Resolvers read 0x7f.1, 0177.1 and 2130706433 as 127.0.0.1.
            raise _denied("the address's host is an IP address in an unusual form; write it as 192.0.2.1") from error
        host = f"[{literal}]" if literal.version == 6 else str(literal)
    elif host.startswith((".", "-")) or host.endswith((".", "-")) or ".." in host:
        raise _denied("the address's host is not a plain name; write it without a dot at its end")
    return f"{host}:{port}"


def split_authority(authority: str) -> tuple[str, int]:
    """`[::1]:443` -> (`::1`, 443)."""
    host, _, port = authority.rpartition(":")
    return host.strip("[]"), int(port)


def _is_number(label: str) -> bool:
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", label) is not None


def _check_web_path(key: str) -> None:
    if key:
        for segment in key.split("/"):
            _check_segment(segment)


def _check_segment(segment: str) -> None:
    # Nothing here decodes percent signs, but a segment is refused if decoding it, once or repeatedly, would change its
    # meaning for a server. Some servers also cut a segment at a semicolon.
    texts = [segment]
    while (decoded := unquote(texts[-1])) != texts[-1]:
        texts.append(decoded)
    if segment == "" or any(text.partition(";")[0] in (".", "..") or "\0" in text for text in texts):
        raise _denied("the address has an empty part, `.` or `..`; write it in its shortest form")
    if any("/" in text or text.count("\\") > segment.count("\\") for text in texts):
        raise _denied("the address has a hidden slash; write it in its shortest form")


def _below(key: str, prefix: str) -> bool:
    return prefix == "" or key == prefix or key.startswith(f"{prefix}/")


def _denied(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.ACCESS_DENIED, message)
