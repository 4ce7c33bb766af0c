"""What the documentation tells a reader to write or to type is accepted by what it is written or typed for."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer import BadParameter
from typer.core import TyperGroup
from typer.main import get_command

from voxfleet_agent.config import AgentConfig
from voxfleet_agent.main import app as agent_app
from voxfleet_agent.standalone.cel_rules import violations
from voxfleet_agent.yaml_validation import aliases
from voxfleet_api import API_VERSION
from voxfleet_api.kinds import KINDS
from voxfleet_api.kinds.resource import ObjectMeta
from voxfleet_billing.csv_mapping import load_mapping
from voxfleet_billing.price_book import load_price_book
from voxfleet_cli.main import app as cli_app
from voxfleet_gateway.command import app as gateway_app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for path in (*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").rglob("*.md")))
    if path.parent.name != "adr"  # a record of its day
]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"^cat > \S+\.yaml <<EOF\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PROGRAMS = {
    "voxfleet-agent": get_command(agent_app),
    "voxfleet": get_command(cli_app),
    "voxfleet-operator": get_command(gateway_app),
}
USAGE_ERROR = BadParameter.__mro__[1]
"""Typer has it under no name of its own."""
RESOURCES = {kind.crd.kind: kind for kind in KINDS}
OF_OTHERS = {
    part.strip()
    for file in (REPOSITORY / "gitops").glob("*/*.yaml")
    for part in re.split(r"^---$", file.read_text(), flags=re.MULTILINE)
}
"""Objects of Argo CD and Flux: a page shows what stands in a file of gitops/."""


@dataclass(frozen=True)
class Found:
    """A piece of a page."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.strip().splitlines()[0]}"


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for match in BLOCK.finditer(page.read_text()):
        if match.group(2) in languages:
            yield textwrap.dedent(match.group(3))


def documents() -> Iterator[Found]:
    """YAML, in blocks of its own or written by a shell's."""
    for page in PAGES:
        texts = [*blocks(page, "yaml"), *(body for text in blocks(page, "sh") for body in HEREDOC.findall(text))]
        for text in texts:
            for part in re.split(r"^---$", text, flags=re.MULTILINE):
                yield Found(page.name, re.sub(r"\$(PWD|HOME|SHARED)", "/somewhere", part))


def commands() -> Iterator[Found]:
    """Command lines of ours, in shell blocks and in the text."""
    for page in PAGES:
        lines = [line for text in blocks(page, "sh") for line in HEREDOC.sub("", text).splitlines()]
        lines += [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]
        spans = SPAN.findall(BLOCK.sub("", page.read_text()))
        for line in dict.fromkeys([*lines, *spans]):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
            lexer.wordchars += "$"
            for command in re.split(r" (?:&&|\|\||\||;) ", shlex.join(lexer).replace("'&&'", "&&").replace("'|'", "|")):
                called = shlex.split(command)
                while called and called[0] in ("sudo", "kubectl"):
                    called = called[1:]
                if len(called) > 1 and called[0] in PROGRAMS:
                    yield Found(page.name, shlex.join(called))


def parse(program: str, words: list[str]) -> None:
    """Parses as the program would, and runs nothing. Raises USAGE_ERROR."""
    context = PROGRAMS[program].make_context(program, list(words))
    while isinstance(context.command, TyperGroup):
        if context.command.invoke_without_command and not [*context._protected_args, *context.args]:
            return  # `voxfleet accept` itself, with its options
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        if not rest and not isinstance(command, TyperGroup):
            return  # the text speaks of the command, and says nothing of its arguments
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("found", [*documents()], ids=str)
def test_a_document_is_what_the_api_accepts(found: Found) -> None:
    content = yaml.safe_load(found.text)
    if "stateDir" in content:
        AgentConfig.load(content)
        return
    if "lessors" in content:
        load_price_book(found.text)
        return
    if "columns" in content:
        load_mapping(found.text)
        return
    if "gateway" in content:
        values = yaml.safe_load((REPOSITORY / "charts" / "voxfleet" / "values.yaml").read_text())
        assert set(content["gateway"]) <= set(values["gateway"])
        return
    if content["apiVersion"] != API_VERSION:
        assert found.text.strip() in OF_OTHERS
        return
    assert set(content) <= {"apiVersion", "kind", "metadata", "spec"}
    assert set(content["metadata"]) <= set(aliases(ObjectMeta))
    resource = RESOURCES[content["kind"]].load(content)
    assert violations(resource, "") == []


@pytest.mark.parametrize("found", [*commands()], ids=str)
def test_a_command_is_what_the_program_accepts(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXFLEET_ARCHIVE", "file:///ledger")  # pages export it once
    program, *words = shlex.split(found.text)
    parse(program, words)


def test_the_pages_are_read() -> None:
    """A pattern that finds nothing any more would pass everything."""
    pages = {found.page for found in documents()}
    assert pages == {
        "README.md",
        "accept-a-mac.md",
        "accept-audio.md",
        "choose-clips.md",
        "say-where-jobs-run.md",
        "serve-speech.md",
        "rerun-what-failed.md",
        "run-every-night.md",
        "speak-texts.md",
        "run-without-a-cluster.md",
        "add-a-mac.md",
        "empty-a-mac.md",
        "keep-a-model-warm.md",
        "try-a-real-model.md",
        "use-gitops.md",
        "from-nightly-batch-to-invoice.md",
    }
    told = {found.text for found in commands()}
    assert {
        "voxfleet-agent run -f job.yaml",
        "voxfleet-agent ladder -c agent.yaml --plot ladder.png",
        "voxfleet-agent install --config agent.yaml --user voxfleet",
        "voxfleet operator --namespace voxfleet-system",
        "voxfleet why nightly -n speech",
        "voxfleet bill verify --period '$MONTH'",
    } <= told


@pytest.mark.parametrize(
    "words", [["no-such-command"], ["run", "--no-such-option"], ["compare", "A"], ["replay", "--worst", "many", "OUT"]]
)
def test_a_command_that_is_none_is_seen(words: list[str]) -> None:
    with pytest.raises(USAGE_ERROR):
        parse("voxfleet-agent", words)


def test_every_make_target_that_is_told_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*?## ", makefile, re.MULTILINE))
    code = [text for page in PAGES for text in (*blocks(page, "sh", ""), *SPAN.findall(page.read_text()))]
    told = {target for text in code for target in re.findall(r"(?:^|[\s`])make ([a-z][a-z-]*)", text)}
    assert told and told <= targets


TREE = re.compile(r"^## (\S+)\n\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def layout_folders() -> dict[Path, tuple[set[str], set[str]]]:
    """By folder of docs/layout.md: (names that begin a line, all words of its lines)."""
    folders: dict[Path, tuple[set[str], set[str]]] = {}
    for root, tree in TREE.findall((REPOSITORY / "docs/layout.md").read_text()):
        above = [(-1, REPOSITORY / root)]
        for line in filter(str.strip, tree.splitlines()):
            depth = len(line) - len(line.lstrip())
            head, _, text = line.strip().partition("  ")
            if depth > 20:  # the description goes on
                head, text = "", line
            else:
                while above[-1][0] >= depth:
                    above.pop()
            folder = above[-1][1]
            if head.endswith("/"):
                folder = folder / head
                above.append((depth, folder))
                head = ""
            named, words = folders.setdefault(folder, (set(), set()))
            named |= set(re.findall(r"\w+", head))
            words |= set(re.findall(r"\w+", f"{head} {text}"))
    return folders


def test_the_layout_has_every_module_in_its_room() -> None:
    folders = layout_folders()
    for folder in {path.parent for root in ("agent", "operator", "crds") for path in modules(root)}:
        named, words = folders[folder]
        there = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
        assert there <= words, f"{folder}: not in docs/layout.md"
        assert named <= there, f"{folder}: in docs/layout.md alone"


def modules(root: str) -> list[Path]:
    return [path for path in (REPOSITORY / root).rglob("*.py") if path.stem not in ("__init__", "__main__")]
