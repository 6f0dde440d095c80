"""A headless Chromium, driven over its DevTools pipe: no driver program, no websocket."""

import json
import os
import select
import subprocess
import tempfile
import time

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", "--disable-extensions", "--no-proxy-server",
             "--force-color-profile=srgb", "--hide-scrollbars", "--remote-debugging-pipe"]


class Failed(Exception):
    """Something that the browser says is wrong."""


class Chromium:
    """The program. Its pipe: JSON each way, ended by a zero byte."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True)
        theirs_in, self.to = os.pipe()
        self.back, theirs_out = os.pipe()
        # It takes 3 to read from and 4 to write to; others of those numbers move away first.
        script = 'exec 8<&"$1" 9>&"$2"; exec 3<&8 4>&9 8<&- 9>&-; shift 2; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(theirs_in), str(theirs_out), "chromium",
             *ARGUMENTS, f"--user-data-dir={self.folder.name}"],
            pass_fds=[theirs_in, theirs_out], stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": self.folder.name, "TZ": "UTC", "LANG": "en_US.UTF-8"})
        os.close(theirs_in)
        os.close(theirs_out)
        self.rest = b""
        self.sent = 0
        self.events = []

    def call(self, method, session=None, **parameters):
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        deadline = time.monotonic() + 30
        while True:
            answer = self.read(deadline)
            if answer is None:
                raise Failed(f"no answer to {method}")
            if answer.get("id") == self.sent:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']}")
                return answer["result"]

    def read(self, deadline):
        """The next message, or None at the deadline. Events are kept."""
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.back], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.back, 1 << 20)
            if not data:
                raise Failed("chromium has ended")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if "method" in message:
            self.events.append(message)
        return message

    def tab(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, attached["sessionId"])

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (Failed, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.folder.cleanup()


class Tab:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def look(self, width, dark=False, height=900, media=()):
        """How wide it is, and what its user prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still, *media])

    def go(self, url):
        self.call("Page.navigate", url=url)

    def run(self, expression):
        """The value of JavaScript; a promise's is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failed(f"{expression[:200]}: {json.dumps(result['exceptionDetails'])[:600]}")
        return result["result"].get("value")

    def wait(self, expression, seconds=10):
        """Until it is true; its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.run(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failed(f"still not so after {seconds} s: {expression}")
            self.browser.read(time.monotonic() + 0.03)

    def key(self, name, code, text=""):
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "")

    def screenshot(self, whole=True):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        more = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        return self.call("Page.captureScreenshot", format="png", **more)["data"]

    def complaints(self):
        """Errors, warnings and breaches of the policy since it was last asked, as text."""
        self.run("0")
        found = []
        for event in self.browser.events:
            method, data = event["method"], event["params"]
            if event.get("sessionId") != self.session:
                continue
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(data["exceptionDetails"])[:800])
            elif method == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning"):
                found.append(json.dumps(data["args"])[:800])
            elif method == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
                found.append(f"{data['entry']['text']} {data['entry'].get('url', '')}")
            elif method == "Page.javascriptDialogOpening":
                found.append(f"a script ran: {data}")
        self.browser.events.clear()
        return found
