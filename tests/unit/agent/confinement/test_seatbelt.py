"""The seatbelt profile as text; no test here has run it on a Mac."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rig.agent_config import write_agent_config

from voxfleet_agent.config import load_config
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import FileGuard, Guards, NetworkGuard, preferred
from voxfleet_agent.confinement.seatbelt import profile
from voxfleet_agent.local_services import ServiceSettings, bounds_of_lanes

EXPECTED = """\
(version 1)
(allow default)
(deny network*)
(deny process-info*)
(allow process-info* (target self))
(deny signal)
(allow signal (target self))
(deny lsopen)
(deny appleevent-send)
(deny job-creation)
(deny file-write*)
(allow file-write* (regex #"^(/private)?/var/folders/[^/]+/[^/]+/(C|T)(/|$)"))
(allow file-write-data (literal "/dev/null") (literal "/dev/zero") (literal "/dev/random") (literal "/dev/urandom") \
(literal "/dev/dtracehelper"))
(deny file-write* (subpath "/Volumes/scratch/attempts"))
(deny file-read-data file-write* (subpath "/Users/voice/.ssh"))
(deny file-read-data file-write* (subpath "/Users/voice/.aws"))
(deny file-read-data file-write* (subpath "/Users/voice/.config"))
(deny file-read-data file-write* (subpath "/Users/voice/.netrc"))
(deny file-read-data file-write* (subpath "/Users/voice/.gnupg"))
(deny file-read-data file-write* (subpath "/Users/voice/.kube"))
(deny file-read-data file-write* (subpath "/Users/voice/Library/Keychains"))
(deny file-read-data file-write* (subpath "/Users/voice/state"))
(allow file-read-data (subpath "/Users/voice/state/models/a"))
(allow file-read-data file-write* (subpath "/Users/voice/state/lanes/offline-0"))
"""


def written(*, home: Path = Path("/Users/voice"), **paths: Sequence[Path]) -> str:
    given = {"hidden": (), "read_only": (), "readable": (), "writable": ()} | paths
    return profile(home=home, **given)


def test_the_profile_denies_writing_and_the_agents_files_and_allows_what_a_lane_needs_last() -> None:
    text = written(
        hidden=[Path("/Users/voice/state")],
        read_only=[Path("/Volumes/scratch/attempts")],
        readable=[Path("/Users/voice/state/models/a")],
        writable=[Path("/Users/voice/state/lanes/offline-0"), Path("/Users/voice/state/lanes/offline-0")],
    )
    assert text == EXPECTED


def test_quotes_and_backslashes_in_a_path_end_no_string() -> None:
    text = written(hidden=[Path('/a"))(allow network*)\\')])
    assert '(subpath "/a\\"))(allow network*)\\\\")' in text


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        ("/var/db/vox", '(subpath "/var/db/vox") (subpath "/private/var/db/vox")'),
        ("/private/var/db/vox", '(subpath "/var/db/vox") (subpath "/private/var/db/vox")'),
        ("/tmp", '(subpath "/tmp") (subpath "/private/tmp")'),  # noqa: S108
        ("/etc/vox/../key", '(subpath "/etc/key") (subpath "/private/etc/key")'),
        ("/variable", '(subpath "/variable")'),
        ("/private/keys", '(subpath "/private/keys")'),
    ],
)
def test_a_path_below_a_link_of_macos_is_named_in_both_spellings(path: str, filters: str) -> None:
    assert f"\n(deny file-read-data file-write* {filters})\n" in written(hidden=[Path(path)])


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/private/var/folders/zz/zyx_0/C/com.apple.metal/1", True),
        ("/var/folders/zz/zyx_0/T", True),
        ("/private/var/folders/zz/zyx_0/0/com.apple.notes", False),
        ("/private/var/folders/zz/zyx_0/Cache", False),
        ("/Users/voice/var/folders/zz/zyx_0/T/file", False),
    ],
)
def test_only_cache_and_temporary_files_of_an_account_are_written(path: str, own: bool) -> None:
    (pattern,) = re.findall(r'\(regex #"(.*)"\)', written())
    assert (re.match(pattern, path) is not None) is own


def test_a_link_is_named_beside_the_place_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    bounds = Confinement(preferred("darwin"), tmp_path / "clips", hidden=(tmp_path / "link",))
    text = bounds.command((sys.executable, "-m", "worker"), tmp_path / "lane", None)[2]
    for name in ("real", "link"):
        assert f'(deny file-read-data file-write* (subpath "{tmp_path / name}"' in text.replace("/private", "")


def test_the_file_that_a_measured_lane_tries_to_change_lies_where_the_profile_denies_it(tmp_path: Path) -> None:
    settings = ServiceSettings.of(load_config(write_agent_config(tmp_path)))
    wanted, secrets = bounds_of_lanes(settings, {})
    command = replace(wanted, guards=preferred("darwin")).command(("/python",), tmp_path / "lane", None)
    rules = command[2].replace("/private", "").splitlines()
    (temporary,) = (number for number, rule in enumerate(rules) if rule.startswith("(allow file-write* (regex"))
    assert any(
        rule.startswith(f'(deny file-read-data file-write* (subpath "{secrets.own}")') for rule in rules[temporary:]
    )


def test_nothing_is_asked_of_the_file_system_of_a_model(tmp_path: Path) -> None:
    """It may be dead: the name is the real one, and a link that it has become since is not followed."""
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    bounds = Confinement(preferred("darwin"), tmp_path / "clips")
    text = bounds.command((sys.executable, "-m", "worker"), tmp_path / "lane", tmp_path / "model")[2]
    assert f'(allow file-read-data (subpath "{tmp_path / "model"}"' in text.replace("/private", "")
    assert "elsewhere" not in text


def test_the_worker_is_started_by_sandbox_exec_with_its_interpreter_model_and_folder_allowed() -> None:
    guards = preferred("darwin")
    bounds = Confinement(guards, Path("/s/attempts"), hidden=(Path("/state"),), read_only=(Path("/models"),))
    tool, flag, text, *worker = bounds.command(("/python", "-m", "worker"), Path("/state/lane"), Path("/models/a"))
    assert (tool, flag, worker) == ("/usr/bin/sandbox-exec", "-p", ["/python", "-m", "worker"])
    rules = text.splitlines()
    hidden = rules.index('(deny file-read-data file-write* (subpath "/state"))')
    assert any(rule.startswith(f'(allow file-read-data (subpath "{sys.prefix}")') for rule in rules[hidden:])
    assert rules[-3:] == [
        '(allow file-read-data (subpath "/s/attempts"))',
        '(allow file-read-data (subpath "/models/a"))',
        '(allow file-read-data file-write* (subpath "/state/lane"))',
    ]


def test_without_guards_the_command_is_the_workers_own() -> None:
    bounds = Confinement(Guards(FileGuard.NONE, NetworkGuard.NONE), Path("/s"), drops_rights=False)
    assert bounds.command(("/python", "-m", "worker"), Path("/lane"), None) == ("/python", "-m", "worker")
