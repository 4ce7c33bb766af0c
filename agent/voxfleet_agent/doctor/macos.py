"""Checks of macOS alone: sleep, FileVault, updates, Local Network, Spotlight and Time Machine.

Findings are judged from the output of Apple's own tools. Tests replay output from manual pages and from users; none
of these checks has run on a Mac.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from voxfleet_agent.doctor.finding import Finding, ok, warn

_TOOL_SECONDS = 20


def check_macos(scratch: Path) -> list[Finding]:
    updates = _output(
        "/usr/bin/defaults", "read", "/Library/Preferences/com.apple.SoftwareUpdate", "AutomaticallyInstallMacOSUpdates"
    )
    return [
        judge_sleep(_output("/usr/bin/pmset", "-g", "custom")),
        judge_filevault(_output("/usr/bin/fdesetup", "status")),
        judge_updates(updates),
        local_network(),
        judge_spotlight(_output("/usr/bin/mdutil", "-s", str(scratch)), scratch),
        judge_time_machine(_output("/usr/bin/tmutil", "isexcluded", str(scratch)), scratch),
    ]


def judge_sleep(settings: str) -> Finding:
    """Judges the AC Power section of `pmset -g custom`."""
    section = settings.rpartition("AC Power:")[2]
    match = re.search(r"^\s*sleep\s+(\d+)", section, re.MULTILINE)
    if match is None:
        return warn("sleep", "pmset names no sleep setting", "sudo pmset -c sleep 0 autorestart 1")
    if match[1] != "0":
        return warn(
            "sleep",
            f"the Mac sleeps after {match[1]} minutes on mains",
            "sudo pmset -c sleep 0; the installed service holds a power assertion, other starts do not",
        )
    restarts = re.search(r"^\s*autorestart\s+1", section, re.MULTILINE)
    if restarts is None:
        return warn("sleep", "no sleep on mains, but no restart after a power cut", "sudo pmset -c autorestart 1")
    return ok("sleep", "no sleep on mains, restart after a power cut")


def judge_filevault(status: str) -> Finding:
    if "FileVault is On" in status:
        return warn(
            "FileVault",
            "FileVault is on: after a restart nothing runs until somebody unlocks the disk",
            "plan restarts with sudo fdesetup authrestart, or keep a person near",
        )
    if "FileVault is Off" in status:
        return ok("FileVault", "off")
    return warn("FileVault", "fdesetup does not say", "run fdesetup status")


def judge_updates(value: str) -> Finding:
    if value.strip() == "0":
        return ok("updates", "macOS does not update itself")
    return warn(
        "updates",
        "macOS may install updates and restart by itself",
        "System Settings, General, Software Update: turn off automatic installation; drain the Mac, then update",
    )


def local_network() -> Finding:
    """Always warns: macOS 15 and later ask the user, and no tool reports the answer."""
    return warn(
        "Local Network",
        "cannot be read by a program; storage on the local network fails without it, a LaunchDaemon is exempt",
        "install the agent as the service that voxfleet-agent install writes, or allow it under Privacy & Security",
    )


def judge_spotlight(status: str, scratch: Path) -> Finding:
    if "Indexing enabled" in status:
        return warn(
            "Spotlight",
            f"Spotlight indexes {scratch}: every clip is read twice, and speech gets into its index",
            f"sudo mdutil -i off on its volume, or touch {scratch}/.metadata_never_index",
        )
    return ok("Spotlight", "does not index scratch")


def judge_time_machine(status: str, scratch: Path) -> Finding:
    if "[Excluded]" in status:
        return ok("Time Machine", "leaves scratch out")
    return warn(
        "Time Machine", f"Time Machine backs {scratch} up, speech included", f"sudo tmutil addexclusion -p {scratch}"
    )


def read_network_time() -> bool | None:
    text = _output("/usr/sbin/systemsetup", "-getusingnetworktime")
    if "Network Time: On" in text:
        return True
    return False if "Network Time: Off" in text else None


def _output(*command: str) -> str:
    """Returns what a tool prints; an empty text when it is missing or too slow."""
    try:
        ran = subprocess.run(  # noqa: S603 -- fixed system tools
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout + ran.stderr
