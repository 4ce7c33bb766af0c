"""Which addresses an agent may touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.addresses import Address, AllowList
from voxfleet_api.failures import FailureClass, VoxFleetError

ALLOWED = AllowList(["file:///data/in/", "s3://calls/2026/", "s3://out/"])


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///data/in/a b#1%20?.wav", Address(None, "data/in/a b#1%20?.wav")),
        ("file:///data/in/", Address(None, "data/in")),
        ("s3://calls/2026/a.wav", Address("calls", "2026/a.wav")),
        ("s3://calls/2026/", Address("calls", "2026")),
        ("s3://out/x", Address("out", "x")),
        ("s3://out/", Address("out", "")),
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
        "file:///data/in/%2e%2e/other/a.wav",
        "file:///data/in/..%2fother/a.wav",
        "file:///data/in/%2E./a.wav",
        "file:///data/in/a\0.wav",
        "file:///data/in/a%00.wav",
        "file://host/data/in/a.wav",
        "file:/data/in/a.wav",
        "/data/in/a.wav",
        "s3://calls/2025/a.wav",
        "s3://calls/20260/a.wav",
        "s3://calls/2026/../2025/a.wav",
        "s3://calls.evil/2026/a.wav",
        "s3:///2026/a.wav",
        "S3://calls/2026/a.wav",
        "http://calls/2026/a.wav",
        "",
    ],
)
def test_everything_else_is_denied(uri: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        ALLOWED.resolve(uri)
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED
    assert not uri or uri not in caught.value.message


def test_an_empty_allow_list_allows_nothing() -> None:
    with pytest.raises(VoxFleetError):
        AllowList([]).resolve("file:///data/in/a.wav")


def test_a_link_may_be_the_allowed_folder_but_not_lead_out_of_it(tmp_path: Path) -> None:
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    (tmp_path / "alias").symlink_to(real)
    (real / "out").symlink_to(other)
    allowed = AllowList([f"file://{tmp_path}/alias/"])
    assert allowed.resolve(f"file://{tmp_path}/alias/a.wav").path == f"{real}/a.wav"
    assert allowed.resolve(f"file://{real}/a.wav").path == f"{real}/a.wav"
    with pytest.raises(VoxFleetError):
        allowed.resolve(f"file://{tmp_path}/alias/out/a.wav")


def test_the_root_may_be_allowed() -> None:
    assert AllowList(["file:///"]).resolve("file:///anything").path == "/anything"
