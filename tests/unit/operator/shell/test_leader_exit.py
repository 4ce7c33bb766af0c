"""A process that may not act any more ends, whatever becomes of its output."""

from __future__ import annotations

import os
import sys

import pytest

from voxfleet_operator.leader import LOST_EXIT_CODE, exit_process


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_it_ends_although_nobody_reads_its_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    output, codes = os.fdopen(writes, "w"), list[int]()
    output.write("what is still to be written")
    monkeypatch.setattr(sys, name, output)
    monkeypatch.setattr(os, "_exit", codes.append)
    with pytest.raises(BrokenPipeError):
        exit_process("the Lease is lost")
    assert codes == [LOST_EXIT_CODE]
    with pytest.raises(BrokenPipeError):
        output.close()
