"""A real browser without a window: Chromium, spoken to over its DevTools pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_LARGEST_MESSAGE_BYTES = 64 * 2**20


class BrowserFailed(Exception):
    """The browser ended, or refused a command."""


class Browser:
    """One page. All calls block until the browser has answered."""

    def __init__(self, commands: int, answers: int) -> None:
        """File descriptors of the pipe."""
        self._commands, self._answers = commands, answers
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[tuple[str, Mapping[str, Any]]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def open(self, file: Path, *, width: int = 1280, dark: bool = False, scripts: bool = True, media: str = "") -> None:
        """Lays the page out `width` CSS pixels wide. `media`: `print`, or empty for the screen."""
        self._events.clear()
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._call("Page.navigate", url=file.as_uri())
        while not any(name == "Page.loadEventFired" for name, _ in self._events):
            self._read()

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for, its own first."""
        return [event["request"]["url"] for name, event in self._events if name == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[str]:
        """What the browser's console has of the page."""
        return [event["entry"]["text"] for name, event in self._events if name == "Log.entryAdded"]

    def html(self) -> str:
        """The document as the browser has it, without running a script."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        return str(self._call("DOM.getOuterHTML", nodeId=root)["outerHTML"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, which the page itself could not run."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserFailed(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def accessible_names(self, role: str) -> list[str]:
        """What a screen reader calls the nodes of a role."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            node.get("name", {}).get("value", "")
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    def screenshot(self, file: Path) -> None:
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        file.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, file: Path) -> None:
        """A4, as a person prints it."""
        answer = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: object) -> Mapping[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer is not None and answer["id"] == self._number:
                if "error" in answer:
                    raise BrowserFailed(f"{method}: {answer['error']['message']}")
                return cast(Mapping[str, Any], answer["result"])

    def _read(self) -> Mapping[str, Any] | None:
        """The next answer; None for an event, which is kept."""
        while b"\0" not in self._received:
            read = os.read(self._answers, 65536)
            if not read or len(self._received) > _LARGEST_MESSAGE_BYTES:
                raise BrowserFailed("the browser ended, or said too much at once")
            self._received += read
        content, self._received = self._received.split(b"\0", 1)
        message = cast(Mapping[str, Any], json.loads(content))
        if "id" in message:
            return message
        self._events.append((str(message["method"]), cast(Mapping[str, Any], message["params"])))
        return None


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Starts Chromium with `profile`, an empty folder, and ends it. Fails the test when there is none."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    program = program or (_MAC if Path(_MAC).exists() else None)
    if program is None:
        pytest.fail("there is no Chromium here; install Debian's package chromium, or Google Chrome on a Mac")
    from_us, commands = _pipe()
    answers, to_us = _pipe()
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            f'exec 3<&{from_us} 4>&{to_us}; exec "$@"',
            "bash",
            program,
            "--headless",
            "--remote-debugging-pipe",
            "--no-sandbox",  # tests may run as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ],
        pass_fds=(from_us, to_us),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        process.kill()
        process.wait()


def _pipe() -> tuple[int, int]:
    """Both ends, with numbers above 4, because the browser wants its own ends as 3 and 4."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    for end in low:
        os.close(end)
    return high[0], high[1]
