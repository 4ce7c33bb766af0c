"""VoiceContracts that the API server refuses."""

from __future__ import annotations

from tests.cluster.api.specs import CONTRACT, Bad

BAD_CONTRACTS: dict[str, Bad] = {
    "contract without containers": Bad(
        CONTRACT, {"spec.input.containers": []}, "spec.input.containers", "at least 1 items"
    ),
    "contract with an unbuilt container": Bad(
        CONTRACT, {"spec.input.containers": ["ogg"]}, "spec.input.containers", 'supported values: "wav"'
    ),
    "contract with a container twice": Bad(
        CONTRACT, {"spec.input.containers": ["wav", "wav"]}, "spec.input.containers", "Duplicate value"
    ),
    "contract with a rate that no file has": Bad(
        CONTRACT, {"spec.input.sampleRatesHz": [1]}, "spec.input.sampleRatesHz", "greater than or equal to 4000"
    ),
    "contract whose clips cannot exist": Bad(
        CONTRACT, {"spec.input.minClip": "11m"}, "spec.input.minClip", "write minClip shorter than or equal to maxClip"
    ),
    "contract with a duration in words": Bad(
        CONTRACT, {"spec.input.maxClip": "ten minutes"}, "spec.input.maxClip", "should match"
    ),
    "contract with the platform's default resampler": Bad(
        CONTRACT,
        {"spec.conversions": {"resample": {"toHz": 16000, "quality": "default"}}},
        "spec.conversions.resample.quality",
        "soxr_vhq",
    ),
    "contract with a promise that nobody can keep": Bad(
        CONTRACT,
        {"spec.slo": {"interactiveP95": "1ms"}},
        "spec.slo.interactiveP95",
        "write a duration from 10ms to 60s",
    ),
    "contract with a field that is not built": Bad(
        CONTRACT, {"spec.slo": {"interactiveP99": "1s"}}, "spec.slo", "unknown field"
    ),
    "contract with a bound for a ladder that it does not have": Bad(
        CONTRACT,
        {"spec.slo": {"offlineTailP95": "30s"}},
        "spec.slo.offlineTailP95",
        "offlineTailP95 bounds a ladder; write batching.ladder too",
    ),
    "contract with an encoding that is not read": Bad(
        CONTRACT, {"spec.input.encodings": ["mulaw"]}, "spec.input.encodings", "supported values"
    ),
    "contract with another decoder": Bad(
        CONTRACT, {"spec.input.decoders": ["ffmpeg"]}, "spec.input.decoders", 'supported values: "mlx-audio-io"'
    ),
    "contract with a downmix that does not work": Bad(
        CONTRACT,
        {"spec.conversions": {"downmix": {"mode": "EqualPower"}}},
        "spec.conversions.downmix.mode",
        "write mode: Mean",
    ),
    "contract whose windows end before they begin": Bad(
        CONTRACT,
        {"spec.conversions": {"windows": {"length": "5s", "seek": "5s"}}},
        "spec.conversions.windows.seek",
        "write a seek of a few seconds",
    ),
    "contract with subtitles without times": Bad(
        CONTRACT, {"spec.output": {"formats": ["srt"]}}, "spec.output.timestamps", "write timestamps: Segment or Word"
    ),
    "contract with flac of floats": Bad(
        CONTRACT,
        {"spec.output": {"audio": {"container": "flac", "encoding": "float32"}}},
        "spec.output.audio.encoding",
        "pcm16 or pcm24 for flac",
    ),
    "contract with a ladder upside down": Bad(
        CONTRACT,
        {"spec.batching": {"ladder": {"from": 4, "to": 2}}},
        "spec.batching.ladder.from",
        "write the smaller batch size first",
    ),
    "contract with a ladder beyond eight": Bad(
        CONTRACT, {"spec.batching": {"ladder": {"to": 9}}}, "spec.batching.ladder.to", "less than or equal to 8"
    ),
    "contract that retries what waiting cannot mend": Bad(
        CONTRACT, {"spec.retries": {"classes": ["DecodeError"]}}, "spec.retries.classes", '"Transport", "Throttled"'
    ),
    "contract that retries for ever": Bad(
        CONTRACT, {"spec.retries": {"maxRetries": 1000}}, "spec.retries.maxRetries", "less than or equal to 10"
    ),
    "contract that halts at nothing": Bad(
        CONTRACT,
        {"spec.quarantine": {"haltFanOutPercent": 0}},
        "spec.quarantine.haltFanOutPercent",
        "greater than or equal to 1",
    ),
    "contract that quarantines more than everything": Bad(
        CONTRACT, {"spec.quarantine": {"maxPercent": 101}}, "spec.quarantine.maxPercent", "less than or equal to 100"
    ),
}
