"""A headless Chromium by the WebDriver protocol, of the system's packages chromium and driver."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVERS = ("chromedriver", "chromium.chromedriver")


def find_browser() -> tuple[str, str] | None:
    """Returns the programs of the browser and of its driver; None: not there."""
    found = [next(filter(None, map(shutil.which, names)), None) for names in (BROWSERS, DRIVERS)]
    return (found[0], found[1]) if found[0] and found[1] else None


class Browser:
    """A page in a browser. Use it in a `with` statement."""

    def __init__(self, browser: str, driver: str):
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._driver.stdout is not None
        port = None
        for line in self._driver.stdout:
            port = re.search(r"started successfully on port (\d+)", line)
            if port:
                break
        assert port, "the driver does not start"
        self._address = f"http://localhost:{port[1]}/session"
        options = {
            "binary": browser,
            # Root, as in containers, has no sandbox; /dev/shm is small there.
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._post("", {"capabilities": {"alwaysMatch": wanted}})
        self._address += "/" + session["sessionId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: Any) -> None:
        urllib.request.urlopen(urllib.request.Request(self._address, method="DELETE"), timeout=30)
        self._driver.terminate()
        self._driver.wait()

    def open(self, url: str, width: int = 1300, height: int = 900, scheme: str = "light") -> None:
        """Opens an address in a window of that size, in a light or a dark colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", {"features": features})
        self._post("/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs the body of a JavaScript function, which may be asynchronous; returns its value."""
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """Sends a command of the browser's own protocol."""
        return self._post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def press(self, key: str) -> None:
        """Presses a key, named as in KeyboardEvent.key and .code, in the element with the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            if key == "Enter" and kind == "rawKeyDown":
                event.update(type="keyDown", text="\r")
            self.command("Input.dispatchKeyEvent", event)

    def messages(self) -> list[str]:
        """Returns what was logged since the last call, errors and warnings."""
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Returns the addresses that were asked for since the last call."""
        events = [
            json.loads(entry["message"])["message"]
            for entry in self._post("/se/log", {"type": "performance"})
        ]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def screenshot(self) -> bytes:
        """Returns the whole page as a PNG."""
        shot = self.command("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(shot["data"])

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._address + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error
