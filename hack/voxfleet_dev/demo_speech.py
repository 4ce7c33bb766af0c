"""The end of a demo: a live caption and a spoken line, through the gateway and by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from voxfleet_api import API_VERSION
from voxfleet_dev.client_key import KEYS_SECRET, ClientKey
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_inputs import EXAMPLE_CLIPS
from voxfleet_dev.mac import Mac
from voxfleet_dev.processes import ChildFailed
from voxfleet_models.families import make_model

CAPTIONS, ANNOUNCEMENTS = "captions", "announcements"
CAPTION_CLIP = EXAMPLE_CLIPS / "wav-16000-01.wav"
LINE = "The line is open."
WARM_SECONDS, CALL_SECONDS = 120, 120.0
FRAME_SECONDS = 0.02


def gateway_values(macs: Sequence[Mac], namespace: str, port: int) -> dict[str, object]:
    """Of the chart: what the gateway of these Macs may read, and where its clients call it."""
    return {
        "enabled": True,
        "url": f"http://127.0.0.1:{port}",
        "fleetSecrets": ["fleet-ssh", "fleet-ca", "fleet-client", *(mac.session_secret for mac in macs)],
        "keySecrets": [{"namespace": namespace, "secretNames": [KEYS_SECRET]}],
    }


class DemoSpeech:
    """Two endpoints in a namespace, and a client of them. Raises ChildFailed where a call goes wrong."""

    def __init__(self, control_plane: ControlPlane, folder: Path, namespace: str, contract: str) -> None:
        self.key = ClientKey()
        self._control_plane = control_plane
        self._namespace = namespace
        self._contract = contract
        self._folder = folder
        self._voice = make_model("pocket_tts", folder / "shared" / "models" / "tiny-voice")

    def apply(self) -> None:
        """Returns once both endpoints are warm. Raises KubectlFailed."""
        self._control_plane.apply(self.key.secret_manifest(self._namespace))
        self._control_plane.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "VoiceContract",
                "metadata": {"name": ANNOUNCEMENTS, "namespace": self._namespace},
                "spec": {
                    "input": {"containers": ["wav"], "sampleRatesHz": [24000], "channels": [1], "maxClip": "1m"},
                    "output": {"audio": {"sampleRateHz": 24000, "clipping": "Limit"}},
                },
            },
            self._endpoint(
                CAPTIONS, {"contractRef": {"name": self._contract}, "model": {"builtin": {"name": "commands"}}}
            ),
            self._endpoint(
                ANNOUNCEMENTS,
                {
                    "contractRef": {"name": ANNOUNCEMENTS},
                    "task": "Synthesize",
                    "model": {"path": str(self._voice)},
                    "synthesis": {"voice": "anna"},
                    "streaming": {"interval": "200ms"},
                },
            ),
        )
        names = (f"ve/{CAPTIONS}", f"ve/{ANNOUNCEMENTS}")
        wait = ("wait", *names, "-n", self._namespace, "--for=condition=Available", f"--timeout={WARM_SECONDS}s")
        self._control_plane.kubectl(*wait, timeout_seconds=WARM_SECONDS + 10)

    def caption(self, show: Callable[[str], None]) -> str:
        """Sends a clip at the pace at which it was spoken; shows and returns what was heard."""
        with wave.open(str(CAPTION_CLIP)) as opened:
            samples, rate_hz = opened.readframes(opened.getnframes()), opened.getframerate()
        words = ["transcribe", "-", "--rate", str(rate_hz), "--stream", "--endpoint", CAPTIONS]
        with self._command(words, stdin=subprocess.PIPE) as process:
            if process.stdin is not None:
                _at_pace(process.stdin, samples, round(rate_hz * FRAME_SECONDS) * 2)
            text = _output(process)
        show(f"heard live: {text}")
        return text

    def line(self, show: Callable[[str], None]) -> Path:
        """Has a line spoken into a file, which it returns."""
        file = self._folder / "spoken.wav"
        words = ["speak", LINE, "--stream", "--output", str(file), "--endpoint", ANNOUNCEMENTS]
        with self._command(words) as process:
            _output(process)
        with wave.open(str(file)) as opened:
            seconds = opened.getnframes() / opened.getframerate()
        show(f"spoken live: {seconds:.1f} s in {file}, noise from a tiny model with random weights")
        return file

    def _command(self, words: Sequence[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "voxfleet_cli.main", *words, "-n", self._namespace],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "KUBECONFIG": str(self._control_plane.kubeconfig),
                "VOXFLEET_API_KEY": self.key.text,
            },
        )

    def _endpoint(self, name: str, spec: dict[str, object]) -> dict[str, object]:
        return {
            "apiVersion": API_VERSION,
            "kind": "VoiceEndpoint",
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {"memoryCap": "1Gi", "auth": {"keysSecretRef": {"name": KEYS_SECRET}}, **spec},
        }


def _at_pace(stdin: IO[bytes], samples: bytes, frame_bytes: int) -> None:
    started = time.monotonic()
    for number, start in enumerate(range(0, len(samples), frame_bytes)):
        time.sleep(max(0.0, started + number * FRAME_SECONDS - time.monotonic()))
        stdin.write(samples[start : start + frame_bytes])
        stdin.flush()


def _output(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=CALL_SECONDS)
    if process.returncode:
        raise ChildFailed(f"voxfleet ended with {process.returncode}: {err.decode()}")
    return out.decode().strip()
