"""An object that does not parse is named; its values reach no log."""

from __future__ import annotations

import traceback

import pytest

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_operator.kube_objects import Unreadable, parse


def test_neither_message_nor_traceback_quotes_a_value() -> None:
    clips = [{"id": "c1", "uri": "ftp://calls/somebody.wav"}]
    spec = {
        "contractRef": {"name": "c"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"clips": clips},
        "output": {"uri": "file:///out/"},
    }
    with pytest.raises(
        Unreadable, match=r"AudioBatchJob team/night cannot be read: spec\.input\.clips\.0\.uri"
    ) as caught:
        parse(AudioBatchJob, {"metadata": {"name": "night", "namespace": "team", "uid": "u"}, "spec": spec})
    assert "somebody" not in "".join(traceback.format_exception(caught.value))
