"""Which addresses an agent may touch."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.addresses import Address, AllowList, Scheme, parse_address, split_authority
from voxfleet_api.failures import FailureClass, VoxFleetError


def test_a_prefix_of_a_namespace_that_is_no_address_opens_nothing() -> None:
    opened = AllowList.of_namespace(["file:///data/../", "https://me@host/", "file:///data/a/"])
    assert opened.covers("file:///data/a/x") and not opened.covers("file:///data/b") and not opened.covers("nothing")
    with pytest.raises(VoxFleetError, match=r"spec\.access of the MacAgent"):
        opened.resolve("file:///data/b")


ALLOWED = AllowList(
    [
        "file:///data/in/",
        "s3://calls/2026/",
        "s3://out/",
        "https://Clips.Example/2026/",
        "https://clips.example:8443/",
        "https://192.0.2.1/in/",
        "https://[2001:DB8::1]/in/",
    ]
)
FILE, S3, HTTPS = Scheme


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///data/in/a b#1%20?.wav", Address(FILE, "", "data/in/a b#1%20?.wav")),
        ("file:///data/in/", Address(FILE, "", "data/in")),
        ("s3://calls/2026/a.wav", Address(S3, "calls", "2026/a.wav")),
        ("s3://calls/2026/", Address(S3, "calls", "2026")),
        ("s3://out/x", Address(S3, "out", "x")),
        ("s3://out/", Address(S3, "out", "")),
        ("s3://out/a\\b?c#d", Address(S3, "out", "a\\b?c#d")),
        ("https://clips.example/2026/a.wav", Address(HTTPS, "clips.example:443", "2026/a.wav")),
        ("https://CLIPS.example:0443/2026/a%20b.wav", Address(HTTPS, "clips.example:443", "2026/a%20b.wav")),
        ("https://clips.example/2026/ü.wav", Address(HTTPS, "clips.example:443", "2026/%C3%BC.wav")),
        ("https://clips.example/2026/", Address(HTTPS, "clips.example:443", "2026")),
        (
            "https://clips.example/2026/a?X-Sig=a%2Fb/../c&x=?",
            Address(HTTPS, "clips.example:443", "2026/a", "X-Sig=a%2Fb/../c&x=?"),
        ),
        ("https://clips.example:8443/x", Address(HTTPS, "clips.example:8443", "x")),
        ("https://192.0.2.1/in/x", Address(HTTPS, "192.0.2.1:443", "in/x")),
        ("https://[2001:db8:0::1]/in/x", Address(HTTPS, "[2001:db8::1]:443", "in/x")),
    ],
)
def test_addresses_below_a_prefix_are_resolved(uri: str, expected: Address) -> None:
    assert ALLOWED.resolve(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "file:///data/inside.wav",
        "file:///data/other/a.wav",
        "file:///data/in/../other/a.wav",
        "file:///data/in/./a.wav",
        "file:///data/in//a.wav",
        "file:///data/in/a\0.wav",
        "file://host/data/in/a.wav",
        "file:/data/in/a.wav",
        "/data/in/a.wav",
        "s3://calls/2025/a.wav",
        "s3://calls/20260/a.wav",
        "s3://calls.evil/2026/a.wav",
        "s3:///2026/a.wav",
        "S3://calls/2026/a.wav",
        "http://calls/2026/a.wav",
        "s3://../2026/a.wav",
        "s3://out//",
        "s3://user@calls/2026/a.wav",
        "https://clips.example/2025/a.wav",
        "https://clips.example/20260/a.wav",
        "https://clips.example/2026/../2025/a.wav",
        "https://clips.example/2026/%2e%2e/2025/a.wav",
        "https://clips.example/2026/%252e%252e/2025/a.wav",
        "https://clips.example/2026/..%2f2025/a.wav",
        "https://clips.example/2026/..%5c2025/a.wav",
        "https://clips.example/2026/..;/2025/a.wav",
        "https://clips.example/2026\\..\\2025/a.wav",
        "https://clips.example/2026//a.wav",
        "https://clips.example/2026/a%zz.wav",
        "https://clips.example/2026/a%00.wav",
        "https://clips.example/2026/a.wav#part",
        "https://clips.example/2026/a b.wav",
        "https://clips.example/2026/a\r\nX: y",
        "https://clips.example/2026/a?x=\r\n",
        "https://clips.example:444/2026/a.wav",
        "https://clips.example:/2026/a.wav",
        "https://clips.example:0/2026/a.wav",
        "https://clips.example:65536/2026/a.wav",
        "https://clips.example:99999999999/2026/a.wav",
        "https://clips.example./2026/a.wav",
        "https://clips.example.evil/2026/a.wav",
        "https://user@clips.example/2026/a.wav",
        "https://clips.example@evil.example/2026/a.wav",
        "https://evil.example\\@clips.example/2026/a.wav",
        "https://evil.example#@clips.example/2026/a.wav",
        "https://evil.example?@clips.example/2026/a.wav",
        "https://clips%2eexample/2026/a.wav",
        "https://clips。example/2026/a.wav",
        "https:///2026/a.wav",
        "https:clips.example/2026/a.wav",
        "HTTPS://clips.example/2026/a.wav",
        "https://3221225985/in/x",
        "https://0xc0000201/in/x",
        "https://0300.0.2.1/in/x",
        "https://192.0.513/in/x",
        "https://192.0.2.1./in/x",
        "https://[192.0.2.1]x/in/x",
        "https://[2001:db8::1%25eth0]/in/x",
        "",
    ],
)
def test_everything_else_is_denied(uri: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        ALLOWED.resolve(uri)
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED
    assert not uri or uri not in caught.value.message


def test_an_empty_allow_list_allows_nothing() -> None:
    with pytest.raises(VoxFleetError, match=r"in the agent's file .* --allow"):
        AllowList([]).resolve("file:///data/in/a.wav")


@pytest.mark.parametrize("rest", ["%2e%2e/x", "..%2fx", "a%00", "..;x/a", "%252e%252e/x", "a\\b", "...", "a;b"])
def test_names_are_literal_in_local_folders_and_buckets(rest: str) -> None:
    assert ALLOWED.resolve(f"file:///data/in/{rest}").key == f"data/in/{rest}"
    assert ALLOWED.resolve(f"s3://calls/2026/{rest}").key == f"2026/{rest}"


@pytest.mark.parametrize("rest", ["/a", "a//b", "../a", "a/../../b", "./a", ".", "..", "//", "a\0b"])
def test_a_slash_or_a_dot_means_nothing_in_a_key(rest: str) -> None:
    assert ALLOWED.resolve(f"s3://calls/2026/{rest}").key == f"2026/{rest}".removesuffix("/")


def test_the_root_may_be_allowed() -> None:
    assert AllowList(["file:///"]).resolve("file:///anything").path == "/anything"


def test_an_address_shows_neither_name_nor_query() -> None:
    address = ALLOWED.resolve("https://clips.example/2026/patient.wav?X-Amz-Signature=secret")
    assert "patient" not in repr(address)
    assert "secret" not in repr(address)


def test_an_authority_is_a_host_and_a_port() -> None:
    assert split_authority("clips.example:443") == ("clips.example", 443)
    assert split_authority("[2001:db8::1]:8443") == ("2001:db8::1", 8443)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "[127.0.0.1",
        "[::1]]",
        "[::g]",
        "-a",
        "a..b",
    ],
)
def test_disguised_ip_addresses_are_refused(host: str) -> None:
    """Resolvers read most of these as an IP address, but the allow-list would see a name."""
    with pytest.raises(VoxFleetError) as caught:
        parse_address(f"https://{host}/x")
    assert "host" in caught.value.message


@given(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(["file:///data/in/", "https://clips.example/2026/"]),
)
def test_whatever_is_resolved_lies_below_a_prefix(rest: str, prefix: str) -> None:
    """Web servers may decode percent signs, once or more; the file system does not."""
    try:
        address = ALLOWED.resolve(f"{prefix}{rest}")
    except VoxFleetError:
        return
    folder = "/data/in" if address.scheme is FILE else "/2026"
    decoded = (unquote(address.key), unquote(unquote(address.key))) if address.scheme is HTTPS else ()
    for key in (address.key, *decoded):
        assert posixpath.normpath(f"/{key}").startswith(folder)


@given(st.text(max_size=40), st.sampled_from(["", "https://", "s3://", "file://", "file:///"]))
def test_any_text_is_an_address_or_denied(text: str, beginning: str) -> None:
    with suppress(VoxFleetError):
        parse_address(f"{beginning}{text}")
