"""Text that is sent only grows, comes once two hypotheses agree, and ends as the final text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from voxfleet_agent.engine.agreed_text import AgreedText, units


def sent(*hypotheses: str, final: str | None = None) -> list[str]:
    agreed = AgreedText()
    deltas = [agreed.update(hypothesis) for hypothesis in hypotheses]
    return deltas if final is None else [*deltas, agreed.finish(final)]


@pytest.mark.parametrize(
    ("hypotheses", "final", "deltas"),
    [
        pytest.param([], "one two", ["one two"], id="the final text alone"),
        pytest.param([], "", [""], id="silence"),
        pytest.param(["one two"], "one two", ["", "one two"], id="one hypothesis proves nothing"),
        pytest.param(["one two"] * 3, "one two", ["", "one", "", " two"], id="the last word may be incomplete"),
        pytest.param([" one two ", "one two\n"], " one two ", ["", "one", " two"], id="white space around it"),
        pytest.param(["a  b\nc", "a  b\nc"], "a  b\nc d", ["", "a  b", "\nc d"], id="white space within it stays"),
        pytest.param(["one twen", "one twenty five"], "one twenty", ["", "one", " twenty"], id="a word that grows"),
        pytest.param(["one", "one two"], "ones too", ["", "", "ones too"], id="nothing was sent yet"),
        pytest.param(["one x", "one y"], "ones two", ["", "one", "s two"], id="the last word sent goes on"),
        pytest.param(["a b", "a b", ""], "a b", ["", "a", "", " b"], id="an empty hypothesis takes nothing back"),
        pytest.param(["a b c"] * 2, "x y z w", ["", "a b", " z w"], id="as many words as were sent are passed over"),
        pytest.param(
            ["the black cat sat"] * 2, "the cat sat", ["", "the black cat", " sat"], id="a word sent too many"
        ),
        pytest.param(
            ["a cat sat down"] * 2,
            "a big cat sat down there",
            ["", "a cat sat", " down there"],
            id="a word sent too few",
        ),
        pytest.param(
            ["a b c d e f"] * 2,
            "x b c z d e f",
            ["", "a b c d e", " f"],
            id="a word that changed and one that was sent too few",
        ),
        pytest.param(["a b c"] * 2, "a", ["", "a b", ""], id="a final text that is shorter"),
        pytest.param(
            ["a b c", "a b c", "x b c d", "x b c d e"],
            "x b c d e",
            ["", "a b", "", " c", " d e"],
            id="after a contradiction, what two agree on still follows",
        ),
        pytest.param(
            ["今天天", "今天天气", "今天天气很好。"],
            "今天天气很好。我们",
            ["", "今天", "天", "气很好。我们"],
            id="Chinese, by characters",
        ),
        pytest.param(
            ["私はiPh", "私はiPhone", "私はiPhoneを"],
            "私はiPhoneを買う",
            ["", "私は", "", "iPhoneを買う"],
            id="Latin words within Japanese",
        ),
        pytest.param(["ที่น", "ที่นี่", "ที่นี่น้ำ"], "ที่นี่น้ำ", ["", "ที่", "", "นี่น้ำ"], id="Thai: a mark stays"),
        pytest.param(
            ["오늘 날씨가", "오늘 날씨가 좋"],
            "오늘 날씨가 좋네요",
            ["", "오늘", " 날씨가 좋네요"],
            id="Korean, by words",
        ),
    ],
)
def test_deltas(hypotheses: list[str], final: str, deltas: list[str]) -> None:
    assert sent(*hypotheses, final=final) == deltas


@pytest.mark.parametrize(
    ("hypotheses", "final", "revisions"),
    [
        (["a b c", "a b c", "a"], "a b c", 0),
        (["a b", "a b c", "x"], "a b c", 1),
        (["a b", "x b", "y b"], "z b", 0),
        (["a b", "a b", "x b", "y b"], "y b", 2),
        (["a b c", "a b c"], "a", 1),
        (["a b", "a b"], "b", 1),
    ],
)
def test_contradictions_are_counted(hypotheses: list[str], final: str, revisions: int) -> None:
    agreed = AgreedText()
    for hypothesis in hypotheses:
        agreed.update(hypothesis)
    agreed.finish(final)
    assert agreed.revisions == revisions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one  two", ["one", "  two"]),
        ("今天 ok。", ["今", "天", " ok", "。"]),
        ("น้ำที่", ["น้ำ", "ที่"]),
        ("ក្រុម", ["ក្", "រុ", "ម"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("葛\U000e0100飾", ["葛\U000e0100", "飾"]),
        ("देवनागरी लिपि", ["देवनागरी", " लिपि"]),
        ("", []),
    ],
)
def test_units(text: str, expected: list[str]) -> None:
    assert units(text) == expected


LETTERS = "ab,  今天。\u3099ที่ำ"
TEXTS = st.text(alphabet=LETTERS, max_size=12)


@given(TEXTS)
def test_units_join_to_the_text_and_never_cut_a_mark_off(text: str) -> None:
    found = units(text.strip())
    assert "".join(found) == text.strip()
    assert not any(unicodedata.category(unit[0]).startswith("M") for unit in found[1:])


@given(st.lists(TEXTS, max_size=8), TEXTS)
def test_text_only_grows_and_ends_as_the_final_text(hypotheses: list[str], final: str) -> None:
    agreed, text = AgreedText(), ""
    for hypothesis in hypotheses:
        text += agreed.update(hypothesis)
        assert agreed.text == text
    contradicted = not final.strip().startswith(text)
    counted = agreed.revisions
    text += agreed.finish(final)
    assert agreed.text == text
    if contradicted:
        assert agreed.revisions > counted or final.strip() in [hypothesis.strip() for hypothesis in hypotheses]
    else:
        assert text == final.strip() and agreed.revisions == counted


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_what_was_sent_replaces_the_beginning_that_it_differs_least_from(heard: list[str], final: list[str]) -> None:
    agreed = AgreedText()
    for _ in range(2):
        agreed.update(" ".join([*heard, "x"]))
    assert agreed.text.split() == heard
    followed = len(agreed.finish(" ".join(final)).split())
    differences = [Levenshtein.distance(heard, final[:replaced]) for replaced in range(len(final) + 1)]
    assert agreed.text.split() == [*heard, *final[len(final) - followed :]]
    assert differences[len(final) - followed] == min(differences)


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=5), min_size=2, max_size=6))
def test_what_is_sent_before_the_end_has_been_said_twice_in_a_row(hypotheses: list[list[str]]) -> None:
    agreed = AgreedText()
    before: list[str] = []
    for words in hypotheses:
        known, delta = agreed.text, agreed.update(" ".join(words))
        if delta and agreed.revisions == 0:
            said = (known + delta).split()
            assert said == words[: len(said)] == before[: len(said)] and len(said) < len(before)
        before = words
