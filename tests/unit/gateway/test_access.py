"""Credentials, keys, accounts and rates: small tables, and what holds for everything that a client may send."""

from __future__ import annotations

import hashlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_gateway.access.call_rate import CallRates
from voxfleet_gateway.access.credentials import NOT_LET_IN, bearer, check_url, fingerprint, is_token, unauthorized
from voxfleet_gateway.access.hashed_keys import MAX_KEYS, read_keys
from voxfleet_gateway.access.recent_answers import RecentAnswers
from voxfleet_gateway.access.service_accounts import is_listed
from voxfleet_gateway.error_answers import error_response
from voxfleet_gateway.mac_links.redial_pauses import FIRST_SECONDS, LONGEST_SECONDS, pause_seconds
from voxfleet_gateway.mac_links.refused_openings import Refusal, believed_seconds, refused_upgrade
from voxfleet_gateway.refusals import CallRefused


def hashed(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def test_keys_are_lines_of_hashes_and_a_key_itself_lets_nobody_in() -> None:
    plain = "vf-abcdef0123456789"
    found = read_keys(
        {
            "team-a": f"# since May\n{hashed('one')}\n\n{fingerprint('two')}\n".encode(),
            "team-b": f"{hashed('three')}\r\n".encode(),
            "careless": plain.encode(),
            "huge": bytes(2**20),
        }
    )
    assert found.names == {fingerprint("one"): "team-a", fingerprint("three"): "team-b"}
    assert len(found.troubles) == 3 and not any(plain in trouble for trouble in found.troubles)
    assert fingerprint(plain) not in found.names


def test_the_hash_may_be_written_in_capitals() -> None:
    digest = fingerprint("one")
    assert read_keys({"a": f"sha256:{digest.upper()}".encode()}).names == {digest: "a"}


def test_no_secret_makes_the_table_of_keys_grow_without_an_end() -> None:
    lines = "\n".join(hashed(str(number)) for number in range(MAX_KEYS + 5)).encode()
    assert len(read_keys({"a": lines}).names) == MAX_KEYS


@given(st.dictionaries(st.text(min_size=1), st.binary(max_size=200), max_size=5))
def test_whatever_a_secret_holds_is_read(data: dict[str, bytes]) -> None:
    for digest in read_keys(data).names:
        assert len(digest) == 64 and set(digest) <= set(string.hexdigits.lower())


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Token abc", "Bearer " + "x" * 9000])
def test_without_a_bearer_nobody_comes_in(header: str | None) -> None:
    with pytest.raises(CallRefused) as refused:
        bearer({} if header is None else {"Authorization": header})
    assert refused.value.status == 401 and refused.value.message == NOT_LET_IN


def test_a_bearer_is_read_and_a_token_is_told_from_a_key() -> None:
    assert bearer({"Authorization": "bearer  key-1 "}) == "key-1"
    assert is_token("eyJh.eyJz.c2ln") and not is_token("vf-abc") and not is_token("a.b") and not is_token("a.b.c d")


@pytest.mark.parametrize("name", ["token", "api_key", "ACCESS_TOKEN", "Authorization"])
def test_a_token_in_the_url_is_refused_by_name(name: str) -> None:
    with pytest.raises(CallRefused, match="Authorization") as refused:
        check_url(["model", name])
    assert refused.value.status == 400
    check_url(["model", "intent"])


@pytest.mark.parametrize(
    ("user", "listed", "is_in"),
    [
        ("system:serviceaccount:speech:robot", ("robot",), True),
        ("system:serviceaccount:speech:robot", ("speech/robot",), True),
        ("system:serviceaccount:other:robot", ("robot",), False),
        ("system:serviceaccount:other:robot", ("other/robot",), True),
        ("system:serviceaccount:other:robot", (), False),
        ("robot", ("robot",), False),
        ("system:node:robot", ("robot",), False),
    ],
)
def test_accounts_are_meant_in_the_endpoint_s_namespace(user: str, listed: tuple[str, ...], is_in: bool) -> None:
    assert is_listed(user, listed, "speech") is is_in


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 600), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_caller_makes_more_calls_than_its_minute_allows(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = CallRates(clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        wait = rates.take("caller", per_minute)
        if wait is None:
            taken.append(clock.now)
        else:
            assert 0 < wait <= 60 / per_minute + 1e-6
    for began in taken:
        within = [at for at in taken if began <= at < began + 60]
        assert len(within) <= 2 * per_minute + 1, "what it had saved, and what came since"


def test_a_caller_that_waits_as_told_is_let_in_and_others_are_not_concerned() -> None:
    clock = Clock()
    rates = CallRates(clock, max_buckets=2)
    assert rates.take("a", 1) is None
    wait = rates.take("a", 1)
    assert wait == pytest.approx(60) and rates.take("b", 1) is None
    clock.now += 60
    assert rates.take("a", 1) is None
    rates.take("c", 1)
    assert len(rates) == 2


def test_answers_hold_for_a_while_and_the_oldest_go() -> None:
    clock = Clock()
    answers: RecentAnswers[str, int] = RecentAnswers(2, 10.0, clock)
    answers.put("a", 1)
    clock.now = 5.0
    answers.put("b", 2)
    assert (answers.get("a"), answers.get("b")) == (1, 2)
    answers.put("c", 3)
    assert (answers.get("a"), answers.get("b"), len(answers)) == (None, 2, 2)
    clock.now = 15.0
    assert answers.get("b") is None


def test_a_refusal_is_openai_s_error_with_whole_seconds() -> None:
    answer = error_response(CallRefused(429, "rate_limit_exceeded", "later", retry_after_seconds=0.2))
    assert answer.headers["Retry-After"] == "1"
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "error": {"message": "later", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    }
    assert "Bearer" in error_response(unauthorized()).headers["WWW-Authenticate"]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_to_a_bound(failures: int, jitter: float) -> None:
    assert FIRST_SECONDS / 2 <= pause_seconds(failures, jitter) <= LONGEST_SECONDS
    assert pause_seconds(failures, jitter) <= pause_seconds(failures + 1, jitter)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (401, Refusal.NOT_ADMITTED),
        (403, Refusal.NOT_ADMITTED),
        (404, Refusal.NOT_READY),
        (429, Refusal.FULL),
        (500, Refusal.NOT_READY),
        (503, Refusal.NOT_READY),
    ],
)
def test_an_agent_s_refusal_says_whether_another_lane_may_do(status: int, refusal: Refusal) -> None:
    assert refused_upgrade(status, "2").refusal is refusal


@given(st.none() | st.text() | st.floats().map(str) | st.integers().map(str))
def test_no_agent_makes_a_lane_be_left_alone_for_ever(header: str | None) -> None:
    assert 0 <= believed_seconds(header, 1.0) <= 60
