"""A headless Chromium for tests, driven by its own protocol (CDP) over a websocket: no driver, no browser of a package's.

Nothing leaves the machine: every name but this host's is made unknown to it.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """One page in a browser, with everything that it said of itself."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; events that come meanwhile are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self.events.append(message)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, *, timeout_s: float = 30) -> None:
        """Return as soon as an expression is true in the page."""
        deadline = time.monotonic() + timeout_s
        while not self.run(condition):
            assert time.monotonic() < deadline, f"waited {timeout_s} s for: {condition}"
            time.sleep(0.1)

    def show(self, *, width: int, height: int = 900, dark: bool = False, scale: float = 1) -> None:
        """Set the size of the window and the preferred colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, {"name": "prefers-reduced-motion", "value": "reduce"}])

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key], text="")

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    @property
    def requests(self) -> list[str]:
        """URLs that were asked for since the page was opened."""
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions."""
        found = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        told = [
            e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled" and e["params"]["type"] in ("error", "warning")
        ]
        thrown = [e["params"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        return [json.dumps(one) for one in [*found, *told, *thrown]]


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A fresh browser with one empty page."""
    command = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert command is not None, "Chromium was not found; install it (Debian: apt-get install chromium)"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"]
    options += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars", f"--user-data-dir={folder}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-features=DialMediaRouteProvider"]
    process = subprocess.Popen([command, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_address(folder, process), max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser's page listens."""
    note, deadline = folder / "DevToolsActivePort", time.monotonic() + 60
    while not (note.exists() and note.read_text().count("\n")):
        assert process.poll() is None, "Chromium ended before it could be asked anything"
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    targets = httpx.get(f"http://127.0.0.1:{note.read_text().splitlines()[0]}/json/list", trust_env=False).json()
    return str(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
