"""That the page follows the fleet: events, a connection that ends, a standby, a page in a tab that is hidden."""

import runner
from browser import require
from runner import check
from server import Coordinator


def mark(c):
    """Leaves something in the page that a reload would remove."""
    c.page.run("window.sameDocument = true")


def same_document(c):
    require(c.page.run("return window.sameDocument === true"), "the page was loaded anew")


@check(fleet="loaded")
def the_page_follows_the_stream_without_a_reload(c):
    c.open()
    c.page.until_text("16 waiting", "main")
    mark(c)
    c.site.fleet.queue["dispute"] = 1234
    c.site.fleet.oldest["dispute"] = 2500
    c.page.until_text("1,250 waiting", "main")
    c.page.until_text("The oldest dispute has waited for 2 s", "#attention")
    c.site.fleet.queue["dispute"], c.site.fleet.oldest["dispute"] = 0, None
    c.page.until_text("Nothing needs attention", "#attention")
    # An event about a worker is followed by the list that has it.
    c.site.fleet.workers[0].update(state="suspect", trouble="no answer")
    worker = c.site.fleet.workers[0]
    c.site.server.publish("worker-suspect", {"worker": worker["id"], "host": worker["host"], "why": "no answer"})
    c.page.until_text("1 worker suspect", "#attention")
    same_document(c)


@check(real=True, fleet="loaded")
def the_page_stays_alive(c):
    c.open()
    c.page.until_text("Live", "#link")
    mark(c)
    since = lambda: c.page.run("return [...document.querySelectorAll('#coordinator dd')].map((value) => value.innerText).join()")
    first = c.page.until("the coordinator", since)
    # The age of the coordinator is counted when the stream says something, not by a timer of the page.
    second = c.page.until("a change by the stream", lambda: since() != first and since())
    c.page.until("another change by the stream", lambda: since() != second)
    same_document(c)


@check(real=True, fleet="loaded")
def a_lost_connection_is_shown_and_made_again(c):
    c.open()
    c.page.until_text("Live", "#link")
    mark(c)
    c.allow("Failed to load resource: net::ERR")
    c.allow("net::ERR_INCOMPLETE_CHUNKED_ENCODING")
    c.site.server.stop()
    c.page.until_text("Disconnected since", "#banner")
    c.page.until_text("Disconnected", "#link")
    live = c.page.run("const banner = document.querySelector('#banner'); return [banner.getAttribute('role'), banner.getAttribute('aria-live')]")
    require(live == ["status", "polite"], f"the banner is no polite live region: {live}")
    require(c.page.run("return document.title").startswith("(disconnected)"), "the title does not say it")
    # A view that is opened meanwhile is there, and what it shows comes with the connection.
    c.page.go("#/requests?show=latest")
    c.page.until_text("Latest requests", "main")
    c.site.server.start()
    c.page.run("[...document.querySelectorAll('#banner button')].find((button) => button.innerText === 'Try now')?.click()")
    c.page.until_text("Live", "#link")
    c.page.until("no banner", lambda: c.page.text("#banner") == "")
    c.page.until_text("The last 1,000 that have ended are kept", "main")
    same_document(c)


@check(fleet="loaded")
def no_event_is_lost_by_a_reconnection(c):
    c.open("#/events")
    c.page.until_text("Live", "#link")
    c.site.server.publish("client-gone", {"client": "before.x", "silent_ms": 1})
    c.page.until_text("before.x", "main")
    c.allow("net::ERR")
    c.site.server.stop()
    c.page.until_text("Disconnected since", "#banner")
    c.site.server.publish("client-gone", {"client": "meanwhile.x", "silent_ms": 1})
    c.site.server.start()
    c.page.until_text("meanwhile.x", "main")
    text = c.page.text("main")
    require(text.count("before.x") == 1, f"an event is there {text.count('before.x')} times")


@check(fleet="loaded")
def a_page_that_is_not_complete_says_so(c):
    c.site.server.missing = "/views/history.js"
    c.allow("404 (Not Found)")
    c.open()
    c.page.until_text("The page could not be loaded completely", "#banner")


@check(fleet="loaded")
def silence_counts_as_disconnected(c):
    c.open()
    c.page.until_text("Live", "#link")
    # The connection stands, and nothing comes over it: as behind a proxy that has lost the other end.
    c.site.server.silent = True
    c.page.until_text("nothing is heard of the coordinator", "#banner")
    c.site.server.silent = False
    c.page.until_text("Live", "#link")


@check(fleet="standby")
def a_standby_says_so_until_it_takes_over(c):
    c.allow("503 (Service Unavailable)")
    c.open("#/workers")
    c.page.until_text("This coordinator is a standby", "#banner")
    c.page.until_text("another one is active, and has the answer", "#standby")
    require("docs/operate/failover.md" in c.page.text("#standby"), "the standby does not say where to read on")
    require(c.page.run("return document.querySelector('#problems').hidden"), "a standby knows of no problems")
    mark(c)
    c.site.fleet.standby = False
    c.page.until_text("Live", "#link")
    c.page.until_text("14 workers", "main")
    # The lease may be lost again.
    c.site.fleet.standby = True
    c.page.until_text("This coordinator is a standby", "#banner")
    same_document(c)


@check(real=True)
def a_real_standby_says_so(c):
    if not c.given.standby:
        # Only with --standby; without it, against a coordinator, the active one must say that it is none.
        if c.site.real:
            c.open()
            c.page.until_text("Live", "#link")
            require("standby" not in c.page.text("#banner"), "the active coordinator calls itself a standby")
            return
        c.site.server.stop()
        c.site = StandbySite()
    else:
        c.site.server.stop()
        c.site = StandbySite(c.given.standby)
    try:
        c.allow("503")
        c.open()
        c.page.until_text("This coordinator is a standby", "#banner")
        c.page.until("the words of the standby", lambda: len(c.page.text("#standby .reason")) > 5)
        c.finish()
    finally:
        c.site.server.stop()


class StandbySite:
    """A standby behind the proxy, as operators have it."""

    def __init__(self, url=None):
        import scenarios
        from server import Proxy
        self.behind = None if url else Coordinator(scenarios.build("standby")).start()
        self.server = Proxy(url or self.behind.url, runner.PREFIX).start()
        self.url = self.server.url


@check(fleet="loaded")
def only_the_view_that_is_shown_is_polled(c):
    c.open()
    c.page.until_text("16 waiting", "main")
    asked = lambda: [path.split("?")[0].split("/api/")[1] for path in c.site.server.requests if "/api/" in path]
    c.page.until("what the overview needs", lambda: {"workers", "artifacts", "history", "requests"} <= set(asked()))
    # Each view is mounted once, and then one that needs no more than the stream.
    for place in ["#/workers", "#/requests", "#/artifacts", "#/events"]:
        c.page.go(place)
        c.page.until("the view", lambda: "Reading …" not in c.page.text("main"))
    heard = lambda: c.page.run("return import('./live.js').then((live) => live.state.status.at_ms)")
    first = heard()
    c.page.until("a quiet start", lambda: heard() > first + 1500)
    before, first = asked(), heard()
    # The overview asks every ten seconds, the other views more often.
    c.page.until("twelve seconds of the stream", lambda: heard() > first + 12_000)
    require(asked() == before, f"nothing of it is shown, and the page has asked for {asked()[len(before):]}")


@check(fleet="loaded")
def a_hidden_page_does_not_poll(c):
    c.open("#/requests?show=open")
    c.page.until_text("Live", "#link")
    polls = lambda: sum("/api/requests" in path for path in c.site.server.requests)
    c.page.until("polls of the view that is shown", lambda: polls() >= 3)
    # A window without a screen is never hidden, so the page is told that it is.
    hide = lambda hidden: c.page.run("""Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));""", hidden)
    heard = lambda: c.page.run("return import('./live.js').then((live) => live.state.status.at_ms)")
    shown = lambda: c.page.run("return document.querySelector('main tbody tr')?.innerText")
    hide(True)
    before, first = polls(), heard()
    c.site.fleet.requests.clear()
    # Some seconds by the stream, which goes on: the view polls every two seconds while it is seen.
    c.page.until("the stream of a hidden page", lambda: heard() > first + 6500)
    require(polls() <= before + 1, f"a hidden page has polled {polls() - before} times")
    require(shown(), "a hidden page is drawn")
    c.site.fleet.inconsistencies = 2
    c.page.until("the number of problems in the title", lambda: c.page.run("return document.title").startswith("(1) "))
    hide(False)
    c.page.until_text("No request is open", "main")
    require(polls() > before, "the page does not poll when it is seen again")


@check(fleet="large")
def a_flood_of_verdicts_stays_bounded(c):
    c.open("#/events?show=verdicts")
    c.page.until_text("Live", "#link")
    for n in range(4000):
        c.site.server.publish("verdict", {"request": f"r-{n}", "client": "c", "code": "0x1", "outcome": "valid", "reason": None, "attempts": 1, "total_ms": n})
    c.page.until_text("r-3999", "main")
    kept = c.page.run("return import('./live.js').then((live) => live.state.events.verdicts.length)")
    require(kept <= 1000, f"{kept} verdicts are kept")
    nodes = c.page.run("return document.querySelectorAll('*').length")
    require(nodes < 1500, f"the page has {nodes} elements")
