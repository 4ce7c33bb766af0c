"""VoiceEndpoints that the API server refuses."""

from __future__ import annotations

from tests.cluster.api.specs import ENDPOINT, REMOVE, SPEAKING_ENDPOINT, Bad

WINDOW = {"start": "08:00", "end": "18:00"}
BAD_ENDPOINTS: dict[str, Bad] = {
    "endpoint without a memory cap": Bad(ENDPOINT, {"spec.memoryCap": REMOVE}, "spec.memoryCap", "Required value"),
    "endpoint without a contract": Bad(ENDPOINT, {"spec.contractRef": REMOVE}, "spec.contractRef", "Required value"),
    "endpoint with a task that is none": Bad(ENDPOINT, {"spec.task": "Translate"}, "spec.task", "Unsupported value"),
    "endpoint with a long name": Bad(
        ENDPOINT, {"metadata.name": "n" * 64}, "<nil>", "metadata.name is longer than 63 characters"
    ),
    "endpoint with fewer lanes at most than at least": Bad(
        ENDPOINT, {"spec.lanes": {"min": 3, "max": 2}}, "spec.lanes.max", "write a max that is no smaller than min"
    ),
    "endpoint with no lane": Bad(
        ENDPOINT, {"spec.lanes": {"min": 0, "max": 1}}, "spec.lanes.min", "should be greater than or equal to 1"
    ),
    "endpoint with too many lanes": Bad(
        ENDPOINT, {"spec.lanes": {"min": 1, "max": 33}}, "spec.lanes.max", "should be less than or equal to 32"
    ),
    "endpoint with an alias twice": Bad(
        ENDPOINT, {"spec.aliases": ["whisper-1", "whisper-1"]}, "spec.aliases", "Duplicate value"
    ),
    **{
        f"endpoint with the alias {alias!r}": Bad(ENDPOINT, {"spec.aliases": [alias]}, "spec.aliases", "should match")
        for alias in ("a b", "../etc/passwd", "x?y", "-a")
    },
    "endpoint with its own name as alias": Bad(
        ENDPOINT, {"spec.aliases": ["case"]}, "spec.aliases", "the endpoint's own name needs no alias"
    ),
    "endpoint that speaks and is not told how": Bad(
        ENDPOINT, {"spec.task": "Synthesize"}, "spec.synthesis", "task Synthesize needs synthesis"
    ),
    "endpoint that listens and is told how to speak": Bad(
        SPEAKING_ENDPOINT, {"spec.task": "Transcribe"}, "spec.synthesis", "task Synthesize needs synthesis"
    ),
    "endpoint with windows and no zone": Bad(
        ENDPOINT, {"spec.windows": [WINDOW]}, "spec.timeZone", "write timeZone beside windows"
    ),
    "endpoint with a window that is none": Bad(
        ENDPOINT,
        {"spec.windows": [{"start": "08:00", "end": "08:00"}], "spec.timeZone": "UTC"},
        "spec.windows",
        "write another end",
    ),
    "endpoint with a model in s3 and no credentials": Bad(
        ENDPOINT, {"spec.model": {"uri": "s3://models/one/"}}, "spec", "s3:// needs credentialsSecretRef"
    ),
    "endpoint with a voice in s3 and no credentials": Bad(
        SPEAKING_ENDPOINT,
        {"spec.synthesis": {"mode": "CustomVoice", "reference": {"uri": "s3://voices/a.wav", "text": "one"}}},
        "spec",
        "s3:// needs credentialsSecretRef",
    ),
    "endpoint with auth that lets nobody in": Bad(
        ENDPOINT, {"spec.auth": {"requestsPerMinute": 5}}, "spec.auth", "write keysSecretRef, serviceAccounts or both"
    ),
    **{
        f"endpoint with the origin {origin!r}": Bad(
            ENDPOINT,
            {"spec.auth": {"serviceAccounts": ["robot"], "allowedOrigins": [origin]}},
            "spec.auth.allowedOrigins",
            "should match",
        )
        for origin in ("https://*", "app.example", "https://app.example/", "https://App.example")
    },
    **{
        f"endpoint with the account {account!r}": Bad(
            ENDPOINT, {"spec.auth": {"serviceAccounts": [account]}}, "spec.auth.serviceAccounts", "should match"
        )
        for account in ("a/b/c", "/robot", "system:serviceaccount:a:b")
    },
    "endpoint with an empty list of accounts": Bad(
        ENDPOINT,
        {"spec.auth": {"keysSecretRef": {"name": "keys"}, "serviceAccounts": []}},
        "spec.auth.serviceAccounts",
        "should have at least 1 items",
    ),
    **{
        f"endpoint with session.{field} {value}": Bad(ENDPOINT, {f"spec.session.{field}": value}, field, advice)
        for field, value, advice in (
            ("maxSeconds", 86_401, "should be less than or equal to 86400"),
            ("idleSeconds", 0, "should be greater than or equal to 1"),
            ("maxTurnSeconds", 601, "should be less than or equal to 600"),
            ("maxPerLane", 65, "should be less than or equal to 64"),
            ("maxFrameBytes", 2**24 + 1, "should be less than or equal to 16777216"),
            ("maxUploadBytes", 2**30 + 1, "should be less than or equal to 1073741824"),
        )
    },
    "endpoint whose batches give way in a way that is none": Bad(
        ENDPOINT, {"spec.yield.mode": "Stop"}, "spec.yield.mode", "Unsupported value"
    ),
    **{
        f"endpoint with a quantum of {quantum}": Bad(
            ENDPOINT, {"spec.yield": {"quantum": quantum}}, "spec.yield.quantum", "write a duration from 50ms to 10s"
        )
        for quantum in ("49ms", "11s")
    },
    "endpoint that detects speech in a way that is none": Bad(
        ENDPOINT, {"spec.turnDetection.type": "SemanticVad"}, "spec.turnDetection.type", "Unsupported value"
    ),
}
