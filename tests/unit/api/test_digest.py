"""Canonical JSON and digests."""

from __future__ import annotations

import pytest

from voxfleet_api.digest import canonical_json, digest_of
from voxfleet_api.kinds.voice_contract import VoiceContractSpec


def test_key_order_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": [True, None, "ü"]}) == '{"a":[true,null,"ü"],"b":1}'.encode()
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})


def test_floats_are_refused_at_any_depth() -> None:
    with pytest.raises(TypeError, match="no floats"):
        canonical_json({"a": [{"b": 1.5}]})


def test_defaults_count_so_that_two_forms_of_a_contract_have_one_digest() -> None:
    short = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
    long = {**short, "quarantine": {"maxClips": 100, "maxPercent": 2}, "conversions": {}}
    assert digest_of(VoiceContractSpec.load(short).in_full()) == digest_of(VoiceContractSpec.load(long).in_full())
    other = {**short, "quarantine": {"maxClips": 101, "maxPercent": 2}}
    assert digest_of(VoiceContractSpec.load(short)) != digest_of(VoiceContractSpec.load(other))


def test_a_contract_written_in_full_keeps_its_digest() -> None:
    """Ladders of runs without a cluster are found by it, so a new field is None when it is absent."""
    written = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
    recorded = "sha256:3688eba16c03405a524df830c8f66b81b024dfb8b87300368c12bc83a7075807"
    assert digest_of(VoiceContractSpec.load(written).in_full()) == recorded
