"""Which machines the agent may connect to for a tenant."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.storage.egress_policy import PublicNetworks

NOWHERE_PRIVATE = PublicNetworks(())


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "52.216.0.1",
        "2600:1f18::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",  # how an IPv6-only network reaches 8.8.8.8
        "2002:808:808::1",
    ],
)
def test_the_internet_is_allowed(address: str) -> None:
    assert NOWHERE_PRIVATE.allows(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 -- nobody binds here
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "233.252.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo, of a client at 10.0.0.1
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_addresses_outside_the_internet_are_refused(address: str) -> None:
    assert not NOWHERE_PRIVATE.allows(ip_address(address))


def test_listed_networks_are_allowed_in_every_spelling() -> None:
    networks = PublicNetworks(["10.1.0.0/16", "fd00:1::/32"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00:1::5"):
        assert networks.is_listed(ip_address(address))
        assert networks.allows(ip_address(address))
    for address in ("10.2.0.1", "::ffff:10.2.0.1", "fd00:2::5", "127.0.0.1", "169.254.169.254"):
        assert not networks.allows(ip_address(address))
    assert networks.allows(ip_address("8.8.8.8"))
    assert not networks.is_listed(ip_address("8.8.8.8"))


@given(address=st.ip_addresses(v=4))
def test_an_embedded_address_is_treated_like_the_plain_one(address: IPv4Address) -> None:
    expected = NOWHERE_PRIVATE.allows(address)
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert NOWHERE_PRIVATE.allows(ip_address(form)) == expected
