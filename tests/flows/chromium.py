"""Headless Chromium over its debugging protocol: what a page asks for, and what it looks like."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
_RENDERED = "typeof Bokeh !== 'undefined' && Bokeh.documents.length > 0 && Bokeh.documents.every(d => d.is_idle)"


def find_chromium() -> str | None:
    """Path of the browser, if this machine has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Page:
    """One open page: requests it made, errors it reported."""

    connection: ClientConnection
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, taking note of events on the way."""
        number = next(self._numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.connection.recv(timeout=30))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"].get("text")))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(str(parameters["entry"]["text"]))

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, url: str, *, width: int, seconds: float = 60) -> None:
        """Load a page at a width and wait until Bokeh has drawn all of it.

        Raises
        ------
        TimeoutError
            If Bokeh is not idle in time.
        """
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)
        end = time.monotonic() + seconds
        while not self.evaluate(_RENDERED):
            if time.monotonic() > end:
                raise TimeoutError(f"Bokeh drew nothing within {seconds} s; errors: {self.errors}")
            time.sleep(0.1)

    def screenshot(self, file: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browse(folder: Path) -> Iterator[Page]:
    """A browser of its own with an empty profile in ``folder``, ended at the end."""
    program = find_chromium()
    if program is None:
        raise FileNotFoundError("no Chromium on this machine")
    profile = folder / "profile"
    log = folder / "chromium.log"
    with log.open("wb") as stream:
        command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        with connect(_page_address(process, log), max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _page_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the first page listens, once the browser says on which port it does."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"DevTools listening on (ws://\S+)", log.read_text(errors="replace"))
        if found:
            with connect(found[1], proxy=None) as browser:
                browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
                targets = json.loads(browser.recv(timeout=30))["result"]["targetInfos"]
            for target in targets:
                if target["type"] == "page":
                    return f"{found[1].split('/devtools/')[0]}/devtools/page/{target['targetId']}"
        time.sleep(0.1)
    raise TimeoutError(f"Chromium did not start: {log.read_text(errors='replace')[-500:]}")
