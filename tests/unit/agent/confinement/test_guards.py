"""The choice of guards: strongest first, and an end to the tries whatever the system refuses."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards, NetworkGuard, preferred, weaker


@pytest.mark.parametrize(
    ("platform", "guards"),
    [
        ("linux", Guards(FileGuard.LANDLOCK, NetworkGuard.SECCOMP)),
        ("darwin", Guards(FileGuard.SEATBELT, NetworkGuard.SEATBELT)),
        ("freebsd14", UNGUARDED),
    ],
)
def test_each_platform_has_its_preferred_guards(platform: str, guards: Guards) -> None:
    assert preferred(platform) == guards


def test_a_refused_filter_is_replaced_by_a_namespace_and_leaves_the_files_guarded() -> None:
    after = weaker(preferred("linux"), "seccomp")
    assert after == Guards(FileGuard.LANDLOCK, NetworkGuard.NAMESPACE)
    assert weaker(after, "namespace") == Guards(FileGuard.LANDLOCK, NetworkGuard.NONE)
    assert weaker(after, "landlock") == Guards(FileGuard.NONE, NetworkGuard.NAMESPACE)
    assert weaker(preferred("darwin"), "seatbelt") == UNGUARDED


@given(st.sampled_from(["linux", "darwin", "win32"]), st.randoms())
def test_refusals_come_to_an_end(platform: str, random: Random) -> None:
    guards = preferred(platform)
    refusals = 0
    while guards != UNGUARDED:
        guards = weaker(guards, random.choice(sorted({guards.files.value, guards.network.value} - {"none"})))
        refusals += 1
    assert refusals <= 3


def test_only_a_guard_in_use_can_be_refused() -> None:
    for name in ("none", "seatbelt", "namespace"):
        with pytest.raises(ValueError, match="no guard"):
            weaker(preferred("linux"), name)
