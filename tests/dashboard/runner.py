"""Runs the checks, one after the other in one browser, and says what failed."""

import json
import sys
import traceback
import urllib.error
import urllib.request

from selenium.common.exceptions import WebDriverException

import browser
import scenarios
import server
from browser import Failed, require

CHECKS = []
#: The path that the page is served beneath in most checks, as behind a proxy of an operator.
PREFIX = "/ops/fleet-one"


def check(real=False, fleet=None):
    """Marks a function as a check. `real`: it also runs against a coordinator ("only": it runs only there). `fleet`: the
    scenario that it has open."""
    def mark(function):
        CHECKS.append((function.__name__.replace("_", " "), function, real, fleet))
        return function
    return mark


class Site:
    """What serves the page: a scenario, or a coordinator behind a proxy of ours. Both can be stopped and started."""

    def __init__(self, given, scenario):
        self.real = bool(given.url)
        self.given = given
        if self.real:
            self.server = server.Proxy(given.url, PREFIX)
            self.fleet = None
        else:
            self.fleet = scenarios.build(scenario or "loaded")
            self.server = server.Coordinator(self.fleet, PREFIX)
        self.server.start()
        self.url = self.server.url

    def api(self, path):
        """An answer, asked for beside the page; `None` if there is no such thing."""
        try:
            with urllib.request.urlopen(f"{self.url}api/{path}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


class Context:
    """What a check has: the browser, the site, and which messages of the console it causes on purpose."""

    def __init__(self, page, site, given):
        self.page = page
        self.site = site
        self.given = given
        self.allowed = []
        self.said = []

    def open(self, place=""):
        self.page.open(self.site.url + place)

    def allow(self, part):
        """A browser reports each request that fails. A check that makes one fail names the message."""
        self.allowed.append(part)

    def finish(self):
        """What holds for every check: a quiet console, and no request to any other host or outside the path."""
        self.said += [entry["message"] for entry in self.page.messages()]
        bad = [message for message in self.said if not any(part in message for part in self.allowed)]
        require(not bad, f"the console has {len(bad)} messages: {bad[:3]}")
        outside = [url for url in self.page.addresses() if not url.startswith(self.site.url)]
        require(not outside, f"the page asked for addresses outside {self.site.url}: {outside[:3]}")


def run(given, chromium, driver, cannot_run):
    import checks_access, checks_live, checks_size, checks_views  # noqa: F401, E401 (they register their checks)
    import shots

    for option, url in [("--url", given.url), ("--standby", given.standby)]:
        try:
            if url:
                urllib.request.urlopen(url, timeout=30).close()
        except (OSError, ValueError) as error:
            print(f"{option} {url}: {error}", file=sys.stderr)
            return cannot_run
    chosen = [one for one in CHECKS if given.filter in one[0] and (one[2] if given.url else one[2] != "only")]
    if not chosen:
        print(f"no check has {given.filter!r} in its name{' and runs against a coordinator' if given.url else ''}", file=sys.stderr)
        return cannot_run
    failed = 0
    try:
        page = browser.Browser(chromium, driver)
    except WebDriverException as error:
        print(f"the browser does not start: {error.msg}", file=sys.stderr)
        return cannot_run
    try:
        print(f"# Chromium {page.driver.capabilities['browserVersion']}, {'coordinator at ' + given.url if given.url else 'scenarios'}")
        for name, function, _, scenario in chosen:
            failed += not repeated(name, function, scenario, page, given)
        if given.screenshots:
            shots.take(given, page, Site)
    finally:
        page.close()
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


#: Chromium gives up all connections when an interface of the machine comes or goes, which other tests cause.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
ATTEMPTS = 5


def repeated(name, function, scenario, page, given):
    """Runs a check, again if the machine's network changed meanwhile; the last attempt counts in any case."""
    for attempt in range(1, ATTEMPTS + 1):
        failure, said = one_check(function, scenario, page, given)
        if failure is None:
            print(f"ok {name}", flush=True)
            return True
        if attempt == ATTEMPTS or not any(NETWORK_CHANGED in message for message in said):
            print(f"FAILED {name}: {failure}{f' (console: {said[:5]})' if said else ''}", flush=True)
            return False
        print(f"# again, the network of the machine changed: {name}", flush=True)


def one_check(function, scenario, page, given):
    """Why a check failed, or None, and what the console said."""
    site = Site(given, scenario)
    context = Context(page, site, given)
    failure = None
    try:
        page.reset()
        function(context)
        context.finish()
    except (Failed, WebDriverException) as error:
        failure = getattr(error, "msg", None) or str(error)
    except Exception:  # noqa: BLE001 (a check that breaks has failed, and the others still run)
        failure = f"the check broke\n{traceback.format_exc()}"
    said = context.said + [entry["message"] for entry in page.messages()]
    page.driver.get("about:blank")
    site.server.stop()
    return failure, said
