"""The seatbelt profile as text; no test here has run it on a Mac."""

from __future__ import annotations

from pathlib import Path

from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import FileGuard, Guards, NetworkGuard, preferred
from voxfleet_agent.confinement.seatbelt import profile

EXPECTED = """\
(version 1)
(allow default)
(deny network*)
(deny process-info*)
(allow process-info* (target self))
(deny signal)
(allow signal (target self))
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


def test_the_profile_denies_the_network_and_the_agents_files_and_allows_what_a_lane_needs_last() -> None:
    text = profile(
        hidden=[Path("/Users/voice/state")],
        read_only=[Path("/Volumes/scratch/attempts")],
        readable=[Path("/Users/voice/state/models/a")],
        writable=[Path("/Users/voice/state/lanes/offline-0")],
        home=Path("/Users/voice"),
    )
    assert text == EXPECTED


def test_quotes_and_backslashes_in_a_path_end_no_string(tmp_path: Path) -> None:
    hostile = tmp_path / 'a"))(allow network*)\\'
    text = profile(hidden=[hostile], read_only=(), readable=(), writable=(), home=tmp_path)
    assert f'(subpath "{tmp_path}/a\\"))(allow network*)\\\\")' in text


def test_a_link_is_named_by_the_place_it_leads_to(tmp_path: Path) -> None:
    """Seatbelt compares real paths, and macOS links /var to /private/var."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    text = profile(hidden=[tmp_path / "link"], read_only=(), readable=(), writable=(), home=tmp_path)
    assert f'"{tmp_path}/real"' in text and f'"{tmp_path}/link"' not in text


def test_the_worker_is_started_by_sandbox_exec_with_its_model_and_folder_allowed() -> None:
    guards = preferred("darwin")
    bounds = Confinement(guards, Path("/s/attempts"), hidden=(Path("/state"),), read_only=(Path("/models"),))
    tool, flag, text, *worker = bounds.command(("/python", "-m", "worker"), Path("/state/lane"), Path("/models/a"))
    assert (tool, flag, worker) == ("/usr/bin/sandbox-exec", "-p", ["/python", "-m", "worker"])
    last = text.splitlines()[-4:]
    assert last == [
        '(deny file-read-data file-write* (subpath "/state"))',
        '(allow file-read-data (subpath "/s/attempts"))',
        '(allow file-read-data (subpath "/models/a"))',
        '(allow file-read-data file-write* (subpath "/state/lane"))',
    ]


def test_without_guards_the_command_is_the_workers_own() -> None:
    bounds = Confinement(Guards(FileGuard.NONE, NetworkGuard.NONE), Path("/s"), drops_rights=False)
    assert bounds.command(("/python", "-m", "worker"), Path("/lane"), None) == ("/python", "-m", "worker")
