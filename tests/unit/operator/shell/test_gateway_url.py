"""The address of the gateway, as the operator is told it: it stands in the status of every endpoint."""

from __future__ import annotations

import pytest
import typer

from voxfleet_api.kinds.endpoint_status import VoiceEndpointStatus
from voxfleet_operator.command import MAX_GATEWAY_URL_CHARACTERS, checked_gateway_url


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("https://speech.example/", "https://speech.example"),
        ("http://voxfleet-gateway.voxfleet-system.svc", "http://voxfleet-gateway.voxfleet-system.svc"),
        ("https://speech.example:8443/calls/", "https://speech.example:8443/calls"),
    ],
)
def test_an_address_is_kept_without_its_last_slash(url: str, kept: str) -> None:
    assert checked_gateway_url(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "speech.example",
        "ftp://speech.example",
        "https://",
        "https://[::1",
        "https://speech.example?key=vf-1",
        "https://a:b@c.example",
    ],
)
def test_what_is_no_address_stops_the_operator_and_not_each_endpoint(url: str) -> None:
    with pytest.raises(typer.BadParameter, match="write an address"):
        checked_gateway_url(url)


def test_the_longest_address_fits_into_the_status_of_the_longest_name() -> None:
    longest = "https://speech.example/".ljust(MAX_GATEWAY_URL_CHARACTERS, "x")
    assert checked_gateway_url(longest) == longest
    VoiceEndpointStatus(url=f"{longest}/{'n' * 63}/{'e' * 63}")
    with pytest.raises(typer.BadParameter, match="longer than 256"):
        checked_gateway_url(f"{longest}x")
