"""A small WebDriver client: Debian's chromedriver over plain HTTP, with nothing but Python's own library."""
import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Failed(Exception):
    """What the driver said no to."""


class Browser:
    """One headless chromium."""

    def __init__(self, scratch):
        self.log = open(os.path.join(scratch, "chromedriver.log"), "w", encoding="utf-8")
        self.driver = subprocess.Popen(
            [shutil.which("chromedriver"), "--port=0", "--allowed-ips=127.0.0.1"],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        port = None
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                port = line.strip().rstrip(".").split()[-1]
                break
        assert port, "chromedriver did not start"
        self.base = f"http://127.0.0.1:{port}"
        # A root user has no sandbox of its own; what is opened here is our own page.
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--lang=en-GB",
                     f"--user-data-dir={os.path.join(scratch, 'profile')}"]
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                  "goog:chromeOptions": {"args": arguments}}
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}}, whole=True)
        self.session = "/session/" + answer["sessionId"]

    def call(self, method, path, body=None, whole=False):
        data = None if body is None and method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Failed(f"{value.get('error')}: {value.get('message', '').splitlines()[0]}") from None

    def ask(self, method, path, body=None):
        return self.call(method, self.session + path, body)

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *args):
        """Runs the body of a function in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def all(self, css, inside=None):
        path = f"/element/{inside}/elements" if inside else "/elements"
        return [e[ELEMENT] for e in self.ask("POST", path, {"using": "css selector", "value": css})]

    def text(self, css):
        """The visible text of the first match, or None."""
        return self.run("const e = document.querySelector(arguments[0]); return e && !e.hidden ? e.innerText : null", css)

    def until(self, what, look, limit=40):
        """Looks until something is there; returns it."""
        deadline = time.monotonic() + limit
        while True:
            try:
                seen = look()
            except Failed:
                seen = None
            if seen:
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"in vain for {limit} s: {what}")
            time.sleep(0.15)

    def button(self, words, inside="body"):
        """Presses the visible button with these words, as a person does with a mouse."""
        def find():
            for e in self.all(f"{inside} button"):
                if self.ask("GET", f"/element/{e}/displayed") and self.ask("GET", f"/element/{e}/enabled"):
                    if words in self.ask("GET", f"/element/{e}/text"):
                        return e
            return None
        found = self.until(f"a button \"{words}\"", find)
        self.ask("POST", f"/element/{found}/click", {})

    def type(self, css, words):
        e = self.all(css)[0]
        self.ask("POST", f"/element/{e}/value", {"text": words})

    def label(self, element):
        """What a screen reader says of it."""
        return self.ask("GET", f"/element/{element}/computedlabel")

    def cdp(self, command, **params):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width, height, mobile=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile)

    def dark(self, on):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def shot(self, path, whole=True):
        got = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as out:
            out.write(base64.b64decode(got["data"]))

    def jpeg(self):
        return base64.b64decode(self.cdp("Page.captureScreenshot", format="jpeg", quality=60)["data"])

    def complaints(self):
        """What the browser's console has said since the last time, from warnings on."""
        return [e["message"] for e in self.ask("POST", "/se/log", {"type": "browser"}) if e["level"] in ("WARNING", "SEVERE")]

    def close(self):
        try:
            if hasattr(self, "session"):
                self.ask("DELETE", "")
        except (Failed, OSError):
            pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.driver.stdout.close()
        self.log.close()
