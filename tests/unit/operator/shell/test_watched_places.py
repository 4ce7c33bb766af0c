"""Which paths a watch lists, when it looks after some namespaces only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.watch import Watch

JOBS = "/apis/voxfleet.dev/v1alpha1/{}audiobatchjobs"
MACS = "/apis/voxfleet.dev/v1alpha1/macagents"


def job(namespace: str, name: str, version: int) -> Json:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"{namespace}/{name}",
            "resourceVersion": str(version),
        },
        "spec": {
            "contractRef": {"name": "c"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": "file:///a/m.jsonl"}},
            "output": {"uri": "file:///a/out/"},
        },
    }


class Api:
    def __init__(self, lists: Mapping[str, tuple[Sequence[Json], str]]) -> None:
        self._lists = lists
        self.asked: list[str] = []

    async def list_objects(self, path: str) -> tuple[Sequence[Json], str]:
        self.asked.append(path)
        return self._lists.get(path, ((), "1"))


@pytest.mark.parametrize(
    ("namespaces", "paths"),
    [
        ((), [JOBS.format("")]),
        (("b", "a", "b"), [JOBS.format("namespaces/b/"), JOBS.format("namespaces/a/")]),
    ],
)
async def test_jobs_are_listed_where_they_are_watched_and_macs_everywhere(
    namespaces: tuple[str, ...], paths: list[str]
) -> None:
    api = Api({})
    await Watch(cast(Kube, api), Cache(), lambda _: None, namespaces=namespaces).relist()
    assert [path for path in api.asked if path.endswith("/audiobatchjobs")] == paths
    assert [path for path in api.asked if path.endswith("/macagents")] == [MACS]


async def test_what_came_after_the_earliest_of_several_lists_is_not_taken_for_gone() -> None:
    """It was made in the first namespace while the second was listed."""
    cache = Cache()
    cache.put(AudioBatchJob.load(job("a", "old", 5)))
    cache.put(AudioBatchJob.load(job("a", "new", 12)))
    api = Api({JOBS.format("namespaces/a/"): ((), "10"), JOBS.format("namespaces/b/"): ((job("b", "other", 3),), "20")})
    await Watch(cast(Kube, api), cache, lambda _: None, namespaces=("a", "b")).relist()
    assert [found.metadata.name for found in cache.all(AudioBatchJob)] == ["new", "other"]
    assert cache.all(MacAgent) == []
