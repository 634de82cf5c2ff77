#!/usr/bin/env python3
"""Looks at the program's page in Chromium, light and dark, wide and as a telephone shows it.

    page_look.py URL NAME VERDICT DIR AXE

Opens URL, and fails if the verdict in large letters is not VERDICT, if the browser says an error, if anything
but URL's own server is asked for something, if axe-core (the script AXE) finds a fault, if the page is wider
than a telephone, if a key's focus cannot be seen, if the page does not go on by itself, or if
/api/v1/status is not as its schema says. The pictures are DIR/NAME-*.png.

Chromium is driven by Debian's chromium-driver over HTTP.
"""

import base64
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import jsonschema

# Far above what anything here takes.
PATIENCE_S = 60

WIDE = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 375, "height": 812, "deviceScaleFactor": 2, "mobile": True}

# Of these it is waited for that they change by themselves, which takes seconds.
WAITS = ("empty", "lost")

# With every part of the page among them: each is seen in all four views. The others differ from them in their words
# only, for which two do.
WHOLE = ("empty", "well", "backlog", "held", "lost")

# What a person who uses keys goes through, each with whether its focus is seen.
FOCUS = """
const seen = [];
for (const one of document.querySelectorAll("a, summary, .scroll")) {
  one.focus();
  if (document.activeElement !== one) continue;
  const style = getComputedStyle(one);
  if (!one.matches(":focus-visible") || style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2)
    seen.push(one.id || one.textContent);
}
document.activeElement.blur();
return seen;
"""


class Browser:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}", "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.session = ""

    def __enter__(self):
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.ask("GET", "/status")
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "perfLoggingPrefs": {"enableNetwork": True}},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": PATIENCE_S * 1000},
        }
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self.ask("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait()

    def ask(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"{path}: {json.load(e)['value']['message']}") from None

    def do(self, what, body=None):
        return self.ask("POST", self.session + what, body)

    def run(self, script, wait=False):
        return self.do("/execute/async" if wait else "/execute/sync", {"script": script, "args": []})

    def devtools(self, command, **params):
        return self.do("/goog/cdp/execute", {"cmd": command, "params": params})

    def log(self, kind):
        return self.do("/se/log", {"type": kind})

    def picture(self, file):
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        made = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(made["data"]))


def wait_until(what, is_so):
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            return [f"{what}: not within {PATIENCE_S} s"]
        time.sleep(0.1)
    return []


def strict(schema):
    """The schema, with nothing allowed that it does not name."""
    if isinstance(schema, dict):
        schema = {name: strict(value) for name, value in schema.items()}
        if "properties" in schema and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        schema = [strict(value) for value in schema]
    return schema


def status(url):
    """What is wrong with the status as JSON."""

    def get(path):
        with urllib.request.urlopen(urllib.parse.urljoin(url, path), timeout=PATIENCE_S) as answer:
            return json.load(answer)

    schema = get("/api/v1/status/schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    errors = jsonschema.Draft202012Validator(strict(schema)).iter_errors(get("/api/v1/status"))
    return [f"status: {e.json_path}: {e.message}" for e in errors]


def look(browser, url, name, verdict, folder, axe):
    wrong = status(url)
    server = urllib.parse.urlsplit(url).netloc
    for theme in ("light", "dark"):
        browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        for size, screen in (("wide", WIDE), ("phone", PHONE)):
            if name not in WHOLE and (theme, size) not in (("light", "phone"), ("dark", "wide")):
                continue
            where = f"{theme}, {size}"
            browser.devtools("Emulation.setDeviceMetricsOverride", **screen)
            browser.do("/url", {"url": url})
            found = browser.run("return document.querySelector('#verdict h1').textContent")
            if found != verdict:
                wrong.append(f"{where}: the verdict is {found}, not {verdict}")
            # All of it, also what is folded.
            browser.run("for (const one of document.querySelectorAll('details')) one.open = true;")
            room = browser.run("return [document.documentElement.scrollWidth, window.innerWidth, screen.width]")
            if max(room[:2]) > screen["width"]:
                wide = browser.run(
                    "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll') && "
                    "e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
                    ".map((e) => e.tagName + '#' + e.id + '.' + e.className).slice(0, 5)"
                )
                wrong.append(f"{where}: {room[0]} of {screen['width']} wide: {wide}")
            faults = browser.run(
                axe + "; const done = arguments[arguments.length - 1];"
                "axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations.map("
                "(v) => v.id + ': ' + v.help + ' ' + v.nodes.map((n) => n.target.join(' ') + ' ' + "
                "(n.any[0] ? n.any[0].message : '')).slice(0, 3).join('; '))), (e) => done([String(e)]));",
                wait=True,
            )
            wrong += [f"{where}: axe: {fault}" for fault in faults]
            wrong += [f"{where}: no focus is seen on {one}" for one in browser.run(FOCUS)]
            browser.picture(folder / f"{name}-{theme}-{size}.png")
    # It goes on by itself, and keeps what was unfolded.
    if name in WAITS:
        made = browser.run("return document.getElementById('made').textContent")
        wrong += wait_until(
            "the page goes on by itself",
            lambda: browser.run("return document.getElementById('made').textContent") != made,
        )
    if browser.run("return document.getElementById('live').textContent") != "live":
        wrong.append("the page does not say that it is live")
    if not browser.run("return document.getElementById('settings-d').open"):
        wrong.append("what was unfolded is folded again")
    wrong += [f"console: {line['level']}: {line['message']}" for line in browser.log("browser")]
    for line in browser.log("performance"):
        event = json.loads(line["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            asked = event["params"]["request"]["url"]
            if not asked.startswith("data:") and urllib.parse.urlsplit(asked).netloc != server:
                wrong.append(f"it asks for {asked}")
    return wrong


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    url, name, verdict, folder, axe = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        wrong = look(browser, url, name, verdict, folder, pathlib.Path(axe).read_text())
    for fault in wrong:
        print(f"{name}: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
