"""A home folder for runs without a cluster, and the command as people type it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.rig.agent_command import invoke

from voxfleet_api.results import ResultIndex
from voxfleet_api.rows import ResultRow
from voxfleet_dev.mac import agent_environment

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE_SECONDS = 120.0
GOOD = ("wav-16000-01", "flac-16000-02", "mp3-16000-03", "m4a-16000-04", "wav-22050-05", "flac-44100-10")
BAD = "truncated"
LENIENT = {"maxClips": 1, "maxPercent": 50}
ALL = {"maxClips": 1, "maxPercent": 100}


@dataclass
class Home:
    """One user's machine: the command writes nothing outside `folder` except `cache`."""

    folder: Path
    cache: Path
    """The cache folder, which tests share because MLX compiles into it."""
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in agent_environment().items() if not name.startswith(("AWS_", "MLX_"))}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.scratch),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_STATE_HOME": str(self.state),
            **self.variables,
            **more,
        }

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *words: str | Path, **more: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "voxfleet_agent", *map(str, words)]
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(**more)
        )

    def agent(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words, **more) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def invoke(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs the command in this process; for commands that load no model, as a start costs more than they do."""
        return invoke(*words, environment=self.environment(**more))

    def run(self, *words: str | Path, **more: str) -> dict[str, Any]:
        """Runs `run`; returns its summary, with its exit code as `rc`."""
        return _summary(self.agent("run", *words, "-o", "json", **more))

    def run_here(self, *words: str | Path, **more: str) -> dict[str, Any]:
        """As `run`, in this process; for a run that loads no model."""
        return _summary(self.invoke("run", *words, "-o", "json", **more))

    def job(self, name: str, clips: Path, *, job: dict[str, Any] | None = None, **contract: Any) -> Path:
        """Writes the YAML of a job over a folder's manifest.jsonl, with changes to its spec and its contract's."""
        documents = [
            yaml.safe_load((EXAMPLES / "contract.yaml").read_text()),
            yaml.safe_load((EXAMPLES / "job.yaml").read_text()),
        ]
        documents[0]["spec"] |= contract
        documents[1]["metadata"]["name"] = name
        documents[1]["spec"] |= {
            "input": {"manifest": {"uri": f"file://{clips}/manifest.jsonl"}},
            "output": {"uri": f"file://{self.folder}/out/"},
            "sharding": {"targetAudio": "4s"},
            **(job or {}),
        }
        file = self.folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump_all(documents))
        return file


def _summary(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.stdout, ended.stderr
    return {**json.loads(ended.stdout), "rc": ended.returncode, "stderr": ended.stderr}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path: Path, cache: Path) -> Home:
    return Home(tmp_path, cache)


def copy_clips(folder: Path, names: Sequence[str]) -> Path:
    """Makes a folder with some of the example clips and their manifest."""
    folder.mkdir(parents=True)
    lines = (EXAMPLES / "clips" / "manifest.jsonl").read_text().splitlines()
    chosen = [line for line in lines if json.loads(line)["id"] in names]
    for line in chosen:
        shutil.copy(EXAMPLES / "clips" / json.loads(line)["uri"], folder)
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in chosen))
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good clips and a truncated one."""
    return copy_clips(tmp_path_factory.mktemp("clips") / "of-test", (*GOOD, BAD))


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip that is refused for its header, so that no model is loaded."""
    return copy_clips(tmp_path_factory.mktemp("refused") / "of-test", ("rate-8000",))


@dataclass(frozen=True)
class Finished:
    home: Home
    job: Path
    folder: Path
    clips: Path
    stderr: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path, clips: Path) -> Finished:
    """A run that has ended; tests do not change it."""
    home = Home(tmp_path_factory.mktemp("finished"), cache)
    job = home.job("done", clips, quarantine={"maxClips": 1, "maxPercent": 50})
    summary = home.run("-f", job)
    assert summary["rc"] == 0, summary
    return Finished(home, job, local(summary["output"]), clips, summary["stderr"])


def local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def rows_of(folder: Path) -> list[ResultRow]:
    """Returns the rows by index; asserts that each clip has exactly one."""
    index = ResultIndex.model_validate_json((folder / "index.json").read_bytes())
    lines = [line for name in ("results", "errors") for line in (folder / f"{name}.jsonl").read_bytes().splitlines()]
    rows = sorted((ResultRow.model_validate_json(line) for line in lines), key=lambda row: row.index)
    assert [row.index for row in rows] == list(range(index.total))
    return rows


def expected_texts() -> dict[str, str]:
    lines = (EXAMPLES / "clips" / "expected.jsonl").read_text().splitlines()
    return {row["id"]: row.get("text", "") for row in map(json.loads, lines)}


def files_below(folder: Path) -> list[Path]:
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def texts(folder: Path) -> dict[str, str | None]:
    return {row.custom_id: row.text for row in rows_of(folder)}


def expected() -> dict[str, str | None]:
    known = expected_texts()
    return {**{name: known[name] for name in GOOD}, BAD: None}


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Waits until the process prints the line."""
    assert process.stderr is not None
    for printed in process.stderr:
        if line in printed:
            return
    raise AssertionError(f"ended without saying {line!r}")
