"""Opening a file in headless Chromium and asking it questions, over the DevTools protocol through two pipes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAINTED = """new Promise((done) => requestAnimationFrame(() => setTimeout(() => done({
  seconds: performance.now() / 1000,
  elements: document.querySelectorAll("*").length,
  width: document.documentElement.scrollWidth,
}))))"""


@dataclass(frozen=True)
class Opened:
    """Seconds from the start of loading to the first painted frame, and what is on the page; `width` in pixels."""

    seconds: float
    elements: int
    width: int
    messages: list[str]


@dataclass
class Browser:
    """One tab. Commands go out and answers come in as JSON, each ended by a zero byte."""

    commands: Any
    answers: Any
    session: str = ""
    sent: int = 0
    messages: list[str] = field(default_factory=list)

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a command. Raises RuntimeError with the browser's words if it refuses."""
        self.sent += 1
        command: dict[str, Any] = {"id": self.sent, "method": method, "params": parameters or {}}
        if self.session:
            command["sessionId"] = self.session
        self.commands.write(json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """What an expression of the page is, a promise awaited. Raises RuntimeError if it throws."""
        answer = self.call("Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True})
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict[str, Any]:
        """The next message; what the page says on its console, or throws, is kept."""
        text = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser went away")
            text += byte
        message: dict[str, Any] = json.loads(text)
        if message.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(json.dumps(message["params"]))
        return message


@contextmanager
def browser(program: str, width: int, height: int = 900) -> Iterator[Browser]:
    """A headless browser with one empty tab of this size, closed in the end."""
    (command_out, command_in), (answer_out, answer_in) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its children write a little longer
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        shell = f'exec "$0" "$@" 3<&{command_out} 4>&{answer_in}'  # the protocol's two pipes are numbers 3 and 4
        process = subprocess.Popen(
            ["bash", "-c", shell, program, *options], pass_fds=(command_out, answer_in), stderr=subprocess.DEVNULL
        )
        os.close(command_out)
        os.close(answer_in)
        with os.fdopen(command_in, "wb", buffering=0) as commands, os.fdopen(answer_out, "rb") as answers:
            tab = Browser(commands, answers)
            target = tab.call("Target.createTarget", {"url": "about:blank"})["targetId"]
            tab.session = tab.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                tab.call(f"{domain}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            tab.call("Emulation.setDeviceMetricsOverride", size)
            try:
                yield tab
            finally:
                process.terminate()
                process.wait()


def open_file(tab: Browser, path: Path) -> Opened:
    """Load a file and wait until it is painted."""
    start = time.perf_counter()
    tab.call("Page.navigate", {"url": path.resolve().as_uri()})
    tab.wait("Page.loadEventFired")
    known = tab.value(PAINTED)
    return Opened(time.perf_counter() - start, known["elements"], known["width"], tab.messages)


def opened(program: str, path: Path, width: int) -> Opened:
    """A file, opened in a browser of its own."""
    with browser(program, width) as tab:
        return open_file(tab, path)
