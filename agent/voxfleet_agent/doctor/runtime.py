"""Checks versions, mlx-audio-io with its own doctor, decoders, soxr and BLAS."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from voxfleet_agent import blas
from voxfleet_agent.doctor.finding import Finding, Health, fail, ok, warn
from voxfleet_agent.engine.speech_packages import IN_EXTRA, install_command
from voxfleet_agent.machine import check_build_info

PINNED = ("mlx", "mlx-audio", "mlx-audio-io")
_PROBE_SECONDS = 120

# Runs in a child process: the agent's own process never loads MLX, and a broken build may crash.
_PROBE = """
import json, pathlib, tempfile
import mlx.core as mx, mlx_audio_io as io
tone = mx.sin(mx.arange(16000, dtype=mx.float32) * 0.3).reshape(-1, 1) * 0.3
decoders = {}
with tempfile.TemporaryDirectory() as folder:
    for kind, encoding in (("wav", "pcm16"), ("flac", "auto"), ("m4a", "auto")):
        path = str(pathlib.Path(folder) / f"tone.{kind}")
        try:
            if encoding == "auto":
                io.save(path, tone, 16000)
            else:
                io.save(path, tone, 16000, encoding=encoding)
            samples, rate = io.load(path)
            right = rate == 16000 and abs(samples.shape[0] - 16000) < 4096
            decoders[kind] = "" if right else f"reads {samples.shape[0]} samples at {rate} Hz, 16000 were written"
        except Exception as error:
            decoders[kind] = f"{type(error).__name__}: {error}"[:200]
print(json.dumps({"build": io.show_build_info(), "soxr": bool(io.supports_soxr()), "decoders": decoders}, default=str))
"""


def check_runtime() -> list[Finding]:
    """Runs all checks, which takes a few seconds."""
    probe = _run([sys.executable, "-c", _PROBE])
    doctor = _run([sys.executable, "-m", "mlx_audio_io.doctor"])
    return [
        judge_versions(_required(), _installed()),
        judge_doctor(doctor.returncode, doctor.stdout + doctor.stderr),
        *judge_probe(probe.returncode, probe.stdout, probe.stderr),
        judge_blas(sys.platform, blas.loaded_openblas(), blas.installed_openblas()),
        judge_speech(lambda module: find_spec(module) is not None),
    ]


def judge_versions(required: Mapping[str, str], installed: Mapping[str, str]) -> Finding:
    """`required`: exact versions by package; `installed`: installed versions, or `missing`."""
    wrong = [
        f"{package} is {installed.get(package, 'missing')}, voxfleet needs {version}"
        for package, version in sorted(required.items())
        if installed.get(package) != version
    ]
    if wrong:
        return fail("versions", "; ".join(wrong), "reinstall: pip install --force-reinstall 'voxfleet[agent]'")
    return ok("versions", ", ".join(f"{package} {version}" for package, version in sorted(required.items())))


def judge_doctor(returncode: int, output: str) -> Finding:
    if returncode == 0:
        return ok("mlx-audio-io doctor", "passed")
    last = next((line for line in reversed(output.splitlines()) if line.strip()), f"exit code {returncode}")
    return fail("mlx-audio-io doctor", last[:300], "reinstall mlx-audio-io for this Python and this mlx")


def judge_probe(returncode: int, output: str, errors: str) -> list[Finding]:
    if returncode != 0:
        last = next((line for line in reversed(errors.splitlines()) if line.strip()), f"exit code {returncode}")
        return [fail("mlx", f"MLX or mlx-audio-io does not run: {last[:300]}", "reinstall voxfleet[agent]")]
    read = json.loads(output)
    compatible, message = check_build_info(read["build"])
    mend = "reinstall mlx, mlx-audio and mlx-audio-io together: they fit each other exactly or not at all"
    findings = [ok("mlx", message) if compatible else fail("mlx", message, mend)]
    broken = {kind: error for kind, error in read["decoders"].items() if error}
    if broken:
        text = "; ".join(f"{kind}: {error}" for kind, error in broken.items())
        findings.append(
            fail("decoders", text, "reinstall mlx-audio-io; on Linux with libav's development packages there")
        )
    else:
        findings.append(ok("decoders", f"{', '.join(read['decoders'])} read back what was written"))
    if read["soxr"]:
        findings.append(ok("soxr", "soxr_hq and soxr_vhq resample as named"))
    else:
        findings.append(
            fail(
                "soxr",
                "mlx-audio-io was built without soxr: contracts that name it are refused",
                "rebuild it with soxr",
            )
        )
    return findings


def judge_speech(installed: Callable[[str], bool]) -> Finding:
    """Which families can speak English here. Nothing is wrong with a Mac that only transcribes."""
    missing = {family: [name for name in needed if not installed(name)] for family, needed in sorted(IN_EXTRA.items())}
    mute = [family for family, modules in missing.items() if modules]
    if not mute:
        return ok("speech", f"{' and '.join(missing)} have what they speak English with")
    commands = dict.fromkeys(install_command(module) for modules in missing.values() for module in modules)
    found = f"fit to transcribe; {' and '.join(mute)} models cannot speak here"
    return Finding("speech", Health.OK, found, f"only if they should: {' && '.join(commands)}")


def judge_blas(platform: str, loaded: str | None, installed: str | None) -> Finding:
    """`loaded`, `installed`: the OpenBLAS file of this process and of this machine; None where there is none."""
    slow = blas.slowness(platform, loaded, installed)
    if slow is not None:
        return warn("blas", slow.found, slow.mend)
    return ok("blas", loaded or "MLX brings its own")


def _required() -> dict[str, str]:
    """Returns the exact pins of the installed distribution."""
    pins: dict[str, str] = {}
    for line in importlib.metadata.requires("voxfleet") or ():
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*==\s*([0-9][^;\s]*)", line)
        if match is not None and match[1] in PINNED:
            pins[match[1]] = match[2]
    return pins


def _installed() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in PINNED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 -- our own interpreter
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(command), -1, "", f"no answer within {_PROBE_SECONDS} s")
