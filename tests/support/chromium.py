"""A headless Chromium that a test drives through its pipe of DevTools messages; needs no other package."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0
"""Seconds to wait for an answer; a loaded machine takes some to start the browser."""

# Chromium reads commands from file 3 and writes answers to file 4
LAUNCHER = """
import os, sys
for number, file in ((103, sys.argv[1]), (104, sys.argv[2]), (3, 103), (4, 104)):
    os.dup2(int(file), number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str:
    """The path of an installed Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    return found


class Browser:
    """One tab. `errors`: what its console said is wrong; `requests`: the addresses that it asked for."""

    def __init__(self, *arguments: str) -> None:
        command = [find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += ["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command += [f"--user-data-dir={self.profile.name}", *arguments]
        (to_read, self.sends), (self.reads, to_write) = os.pipe(), os.pipe()
        launcher = [sys.executable, "-c", LAUNCHER, str(to_read), str(to_write)]
        self.process = subprocess.Popen(
            [*launcher, *command],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.number, self.received, self.session = 0, b"", ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Open the tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self.process.kill()
        self.process.wait()
        os.close(self.sends)
        os.close(self.reads)
        self.profile.cleanup()

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command. Raises RuntimeError if it fails."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.sends, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next message; events are noted. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.reads], [], [], max(0, end - time.monotonic()))
            more = os.read(self.reads, 1 << 20) if ready else b""
            if not more:
                raise TimeoutError("Chromium does not answer" if not ready else "Chromium has ended")
            self.received += more
        text, self.received = self.received.split(b"\0", 1)
        message = json.loads(text)
        event, found = message.get("method"), message.get("params", {})
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(found["args"]))
        elif event == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.errors.append(found["entry"]["text"])
        return message

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is there."""
        self.loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self.receive()

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression. Raises RuntimeError if it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element, scrolled into view."""
        x, y = self.run(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center', inline: 'center'});"
            "const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, such as Enter (13)."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list, or write into a field, with the event that a user makes."""
        self.run(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            f"found.value = {json.dumps(value)};"
            "found.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
