"""A headless Chromium, and what the checks ask of it."""

import base64
import json
import shutil
import tempfile
import time
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

#: How long a condition may take. It bounds a check that fails; nothing is measured with it.
PATIENCE_S = 120


class Failed(Exception):
    """A check that failed."""


def require(condition, message):
    if not condition:
        raise Failed(message)


class Browser:
    """One browser, one window."""

    def __init__(self, chromium, driver):
        self.folder = tempfile.mkdtemp(prefix="pvf-dashboard-")
        options = Options()
        options.binary_location = chromium
        for argument in [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", f"--user-data-dir={self.folder}",
        ]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With the path of the driver selenium looks for nothing in the network.
        self.driver = webdriver.Chrome(options=options, service=Service(executable_path=driver))
        self.driver.set_script_timeout(PATIENCE_S)
        self.hosts = set()
        self.size(1440, 900)

    def reset(self):
        """As a new reader has it: nothing stored, the size of a desk, a light theme, an empty log."""
        self.driver.get("about:blank")
        self.command("Storage.clearDataForOrigin", origin="*", storageTypes="local_storage")
        self.size(1440, 900)
        self.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
        self.messages()
        self.addresses()

    def close(self):
        try:
            self.driver.quit()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def size(self, width, height):
        """The size of what the page has, which in a window is less than that of the window."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def media(self, **features):
        """Sets what the system says: `prefers_color_scheme="dark"`, `prefers_reduced_motion="reduce"`."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def open(self, url):
        # A page of the same address would only go to another place in itself.
        self.driver.get("about:blank")
        self.driver.get(url)

    def go(self, place):
        """Goes to a view of the page that is open."""
        self.run("location.hash = arguments[0]", place)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector="body"):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def until(self, what, condition):
        """Waits for a condition; `what` says in the error what did not come."""
        end = time.monotonic() + PATIENCE_S
        while True:
            value = condition()
            if value:
                return value
            if "Not loaded" in self.text("#link"):
                raise Failed(f"did not come: {what}; the files of the page could not be loaded")
            if time.monotonic() > end:
                raise Failed(f"did not come: {what}; the page has:\n{self.text()[:1500]}")
            time.sleep(0.05)

    def until_text(self, text, selector="body"):
        return self.until(f"the text {text!r} in {selector}", lambda: text in self.text(selector))

    def keys(self, *keys):
        """Presses keys: names as `Tab`, `Enter`, `ArrowLeft`, or `Shift+Tab`."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            shift = key.startswith("Shift+")
            name = key.removeprefix("Shift+")
            event = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": codes[name], "modifiers": 8 if shift else 0}
            typed = {"Enter": "\r", " ": " "}.get(name)
            self.command("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **event, **({"text": typed} if typed else {}))
            self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def focused(self):
        """What has the focus: name of the element, its text, and whether the focus is to be seen."""
        return self.run("""
            const node = document.activeElement;
            const style = getComputedStyle(node);
            return {tag: node.tagName.toLowerCase(), text: (node.getAttribute('aria-label') || node.innerText || node.value || '').trim(), id: node.id,
                    href: node.getAttribute('href'), outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2};""")

    def screenshot(self, path, full=True):
        """A picture of the whole page, or of what the window shows."""
        size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight, innerHeight]")
        clip = {"clip": {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 6000), "scale": 1}} if full else {}
        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=full, **clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def messages(self):
        """What the console has said since the last call."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] not in ("DEBUG", "INFO") or entry["source"] != "console-api"]

    def addresses(self):
        """Addresses that the page has asked for since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                found.append(message["params"].get("request", message["params"])["url"])
        return [url for url in found if not url.startswith(("data:", "about:", "chrome", "blob:"))]


@contextmanager
def opened(chromium, driver):
    browser = Browser(chromium, driver)
    try:
        yield browser
    finally:
        browser.close()
