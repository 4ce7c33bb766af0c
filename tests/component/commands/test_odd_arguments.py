"""A wrong argument ends each command with a line that names it, and never with a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rig.agent_config import write_agent_config
from typer.testing import CliRunner, Result

from voxfleet_agent.main import app

EXAMPLES = Path(__file__).parents[3] / "examples"
CONTENTS: dict[str, bytes] = {
    "empty.yaml": b"",
    "number.yaml": b"5\n",
    "list.yaml": b"- 1\n",
    "binary.yaml": bytes(range(256)),
    "date.yaml": b"a: 2026-13-45\n",
    "deep.yaml": b"[" * 500 + b"]" * 500,
    "tag.yaml": b"a: !!python/object:os.system x\n",
    "tabs.yaml": b"a:\n\t- b\n",
    "other-kind.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    "no-list.yaml": b"apiVersion: v1\nkind: List\nitems: 5\n",
    "two.yaml": b"stateDir: /a\n---\nstateDir: /b\n",
}
NAMES = (*CONTENTS, "missing.yaml", "folder")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests from reading or writing the user's own files."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def odd(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        file = tmp_path / name
        if name == "folder":
            file.mkdir()
        elif name in CONTENTS:
            file.write_bytes(CONTENTS[name])
        return file

    return make


def invoke(*words: str | Path) -> Result:
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(ended.exception, SystemExit | None), ended.exception
    return ended


def assert_ends_with(ended: Result, code: int, *expected: str) -> None:
    assert ended.exit_code == code, ended.output
    assert ended.stderr.startswith("voxfleet-agent: ")
    assert all(text in ended.stderr for text in expected), ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_no_job(odd: Callable[[str], Path], name: str) -> None:
    file = odd(name)
    for command in ("run", "env"):
        ended = invoke(command, "-f", file)
        assert_ends_with(ended, 2, str(file))
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_no_configuration(odd: Callable[[str], Path], name: str) -> None:
    file = odd(name)
    commands = ("init", "ladder", "quarantine list", "ledger export", "ledger verify", "doctor", "serve")
    for words in (*commands, "install --print"):
        assert_ends_with(invoke(*words.split(), "-c", file), 1, str(file))
    job = ("-f", EXAMPLES / "job.yaml", "-f", EXAMPLES / "contract.yaml")
    assert_ends_with(invoke("run", *job, "-c", file), 2, str(file))
    assert_ends_with(invoke("env", "-c", file), 2, str(file))


def test_another_kind_and_an_empty_file_are_named_as_such(odd: Callable[[str], Path]) -> None:
    assert "holds a ConfigMap, not an agent's configuration" in invoke("init", "-c", odd("other-kind.yaml")).stderr
    assert "holds no fields, not an agent's configuration" in invoke("init", "-c", odd("empty.yaml")).stderr


@pytest.mark.parametrize(
    "place",
    ["", "/", "missing", "file:///", "file://x", "s3://", "https://", "http://x/", "file:///a/../b", "a" * 5000, "~"],
)
def test_a_folder_that_is_no_run(place: str) -> None:
    for words in (("compare", place, place), ("replay", place), ("repro", "verify", place)):
        assert_ends_with(invoke(*words), 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--allow", "clips"), "--allow clips: write a prefix with a slash at its end"),
        (("--allow", "file:///clips"), "--allow file:///clips: write a prefix with a slash at its end"),
        (("--lanes", "0"), "--lanes 0: write a number from 1"),
        (("--lanes", "-1"), "--lanes -1: write a number from 1"),
    ],
)
def test_an_option_of_run_that_cannot_be_used(words: tuple[str, str], expected: str) -> None:
    assert_ends_with(invoke("run", "-f", EXAMPLES / "job.yaml", "-f", EXAMPLES / "contract.yaml", *words), 2, expected)


@pytest.mark.parametrize("words", [("--allow", "file:///clips/"), ("--state", "/state")])
def test_options_that_contradict_an_agent_s_configuration_are_refused(tmp_path: Path, words: tuple[str, str]) -> None:
    job = ("-f", EXAMPLES / "job.yaml", "-f", EXAMPLES / "contract.yaml")
    assert_ends_with(invoke("run", *job, "-c", tmp_path / "agent.yaml", *words), 2, f"{words[0]}: with -c")


@pytest.mark.parametrize("name", ["binary.yaml", "missing.yaml", "folder"])
def test_a_file_that_holds_no_rows(odd: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    config = write_agent_config(tmp_path)
    assert invoke("init", "-c", config).exit_code == 0
    file = odd(name)
    assert_ends_with(invoke("ledger", "verify", "-c", config, "--rows", file), 1, str(file))


def test_a_folder_in_place_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "ledger.pem").mkdir()
    assert_ends_with(
        invoke("ledger", "verify", "-c", write_agent_config(tmp_path), "--rows", "x"), 1, "ledgerKeyFile:", "is no file"
    )


def test_a_file_in_place_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    assert_ends_with(invoke("quarantine", "list"), 1, "Not a directory")
    assert_ends_with(invoke("quarantine", "discard", "--all"), 1, "Not a directory")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    job = tmp_path / "job.yaml"
    text = (EXAMPLES / "job.yaml").read_text()
    job.write_text(text.replace("file:///Volumes/audio/results/", f"file://{tmp_path}/file/results/"))
    ended = invoke("run", "-f", job, "-f", EXAMPLES / "contract.yaml")
    assert_ends_with(ended, 2, "spec.output.uri: ", "write a folder that this account may write to")
