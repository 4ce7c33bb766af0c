"""Messages that decide about audio or money refuse unknown fields; envelopes and status do not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import S3Credentials

INPUT = {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}


def test_an_unknown_contract_field_is_refused_at_any_depth() -> None:
    VoiceContractSpec.load({"input": INPUT})
    with pytest.raises(ValidationError, match=r"denoise"):
        VoiceContractSpec.load({"input": INPUT, "denoise": True})
    with pytest.raises(ValidationError, match=r"bitDepth"):
        VoiceContractSpec.load({"input": {**INPUT, "bitDepth": 24}})


def test_an_unknown_attempt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"turbo"):
        AttemptSpec.load({"turbo": True})


def test_an_unknown_status_field_is_ignored() -> None:
    assert AudioBatchJobStatus.load({"observedGeneration": 1, "later": {}}).observed_generation == 1


def test_credentials_do_not_print() -> None:
    credentials = S3Credentials.load({"accessKeyId": "AK-visible", "secretAccessKey": "SK-visible"})
    assert "visible" not in repr(credentials) and "visible" not in str(credentials.model_dump())
