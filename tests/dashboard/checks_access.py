"""That every reader can use the page: by keyboard, on a phone, in both themes, without motion."""

from urllib.parse import quote

import probes
from browser import require
from runner import check

VIEWS = ["", "#/workers", "#/requests?show=open", "#/requests?show=failed", "#/requests?show=slow", "#/artifacts", "#/events", "#/events?show=verdicts", "#/nowhere"]


def places(c):
    """All views, with a request of those that have ended."""
    ended = c.site.api("requests?state=ended&limit=1")["requests"]
    failed = c.site.api("requests?state=failed&limit=1")["requests"]
    return VIEWS + [f"#/requests/{quote(r['request'], safe='')}" for r in ended + failed]


def settled(c, place):
    """Waits until a view shows what it has."""
    c.open(place)
    c.page.until_text("Live", "#link")
    c.page.until("what the view shows", lambda: "Reading …" not in c.page.text("main") and c.page.run(
        "return document.querySelectorAll('main .card, main p').length > 0 && !document.querySelector('.stack[hidden]')"))
    if place == "":
        c.page.until("samples or their absence", lambda: c.page.run(
            "return !document.querySelector('.plots').hidden || document.querySelector('.plots').previousSibling.innerText !== ''"))


@check(real=True, fleet="lost")
def contrast_is_enough_in_both_themes(c):
    for place in places(c):
        settled(c, place)
        for theme in ["light", "dark"]:
            c.page.media(prefers_color_scheme=theme)
            contrast(c, f"{place or 'the overview'}, {theme}")
    # The theme that a reader has chosen, against the one of the system.
    c.page.media(prefers_color_scheme="light")
    c.page.run("const theme = document.querySelector('#theme'); theme.value = 'dark'; theme.dispatchEvent(new Event('change'))")
    require(c.page.run("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(13, 17, 23)", "the dark theme is not shown")
    contrast(c, "the chosen theme")


@check(fleet="failed")
def contrast_is_enough_for_failures_and_on_phones(c):
    for place in places(c):
        settled(c, place)
        for width in [1440, 360]:
            c.page.size(width, 800)
            for theme in ["light", "dark"]:
                c.page.media(prefers_color_scheme=theme)
                contrast(c, f"{place or 'the overview'}, {theme}, {width} px")


@check(fleet="overloaded")
def contrast_is_enough_in_an_overload(c):
    for theme in ["light", "dark"]:
        c.page.media(prefers_color_scheme=theme)
        for place in ["", "#/requests?show=open"]:
            settled(c, place)
            contrast(c, f"{place or 'the overview'}, {theme}")


def contrast(c, where):
    seen = c.page.run(probes.CONTRAST)
    require(seen["texts"] >= 15, f"{where}: only {seen['texts']} texts were looked at")
    require(not seen["bad"], f"{where}: {len(seen['bad'])} texts have too little contrast: {seen['bad'][:4]}")


@check(fleet="empty")
def contrast_is_enough_in_the_states_without_data(c):
    for theme in ["light", "dark"]:
        c.page.media(prefers_color_scheme=theme)
        for place in ["", "#/workers", "#/artifacts", "#/requests?show=latest"]:
            settled(c, place)
            contrast(c, f"{place or 'the overview'}, {theme}")
        c.site.fleet.standby = True
        c.allow("503")
        c.page.until_text("This coordinator is a standby", "#banner")
        contrast(c, f"standby, {theme}")
        c.site.fleet.standby = False
        c.page.until_text("Live", "#link")
        c.allow("net::ERR")
        c.site.server.stop()
        c.page.until_text("Disconnected since", "#banner")
        contrast(c, f"disconnected, {theme}")
        c.site.server.start()


@check(real=True, fleet="failed")
def a_phone_shows_every_view_without_scrolling_sideways(c):
    c.page.size(360, 740)
    for place in places(c):
        settled(c, place)
        fits(c, place or "the overview")


@check(fleet="lost")
def every_width_shows_every_view(c):
    for place in places(c) + ["#/workers?by=worker"]:
        settled(c, place)
        for width in [320, 360, 480, 641, 768, 801, 1001, 1101, 1361, 1920]:
            c.page.size(width, 800)
            fits(c, f"{place or 'the overview'} at {width} px")


@check(fleet="hostile")
def long_names_are_no_wider_than_a_phone(c):
    longest = next(r for r in c.site.fleet.ended if r["reason"] == "A" * 300)
    c.page.size(360, 740)
    for place in places(c) + [f"#/requests/{longest['request']}"]:
        settled(c, place)
        fits(c, place or "the overview")


def fits(c, where):
    wide = c.page.run(probes.WIDER)
    require(not wide["page"], f"{where} is {wide['page']} px wider than the window")
    require(not wide["parts"], f"{where}: parts are cut off: {wide['parts'][:4]}")


@check(real=True, fleet="lost")
def the_page_is_used_by_keyboard_alone(c):
    settled(c, "")
    c.page.keys("Tab")
    first = c.page.focused()
    require(first["text"] == "Skip to the content", f"the first stop is {first}")
    require(c.page.run("return document.activeElement.getBoundingClientRect().top >= 0"), "the link that skips is not seen when it has the focus")
    c.page.keys("Enter")
    require(c.page.focused()["id"] == "main", "the link that skips does not lead to the content")
    # Every stop of the page can be seen, and the last one is followed by the browser itself: nothing holds the focus.
    c.page.run("document.activeElement.blur()")
    stops = walk(c)
    require(len(stops) >= 12, f"only {len(stops)} stops: {stops}")
    hidden = [stop for stop in stops if not stop["outline"]]
    require(not hidden, f"the focus is not seen at {hidden[:3]}")
    nameless = [stop for stop in stops if not stop["text"]]
    require(not nameless, f"stops without a name: {nameless[:3]}")
    to(c, lambda at: at["href"] == "#/workers")
    c.page.keys("Enter")
    c.page.until("the heading of the view with the focus", lambda: c.page.focused()["tag"] == "h1" and c.page.focused()["text"] == "Workers")


@check(fleet="lost")
def tables_plots_and_the_theme_are_used_by_keyboard(c):
    settled(c, "#/workers")
    c.page.until_text("12 workers", "main")
    to(c, lambda at: at["tag"] == "button" and at["text"].startswith("Slots"))
    order = lambda: c.page.run("return document.activeElement.closest('th').getAttribute('aria-sort')")
    require(order() == "none", f"aria-sort is {order()!r} before")
    c.page.keys("Enter")
    require(order() == "descending", f"aria-sort is {order()!r} after one press")
    c.page.keys(" ")
    require(order() == "ascending", f"aria-sort is {order()!r} after two presses")
    to(c, lambda at: at["tag"] == "button" and "rack1-node3" in at["text"])
    rows = lambda: c.page.run("return document.querySelectorAll('main tbody tr').length")
    before = rows()
    c.page.keys("Enter")
    require(c.page.run("return document.activeElement.getAttribute('aria-expanded')") == "false" and rows() < before, "the host does not fold")
    require("rack1-node3" in c.page.focused()["text"], "the focus is lost when a host folds")
    settled(c, "")
    to(c, lambda at: "arrow keys" in at["text"])
    c.page.keys("ArrowLeft", "ArrowLeft")
    told = c.page.until("what the plot tells", lambda: c.page.run("return document.activeElement.parentNode.querySelector('[aria-live]').innerText"))
    require("valid" in told and ":" in told, f"the plot tells {told!r}")
    c.page.keys("Escape")
    to(c, lambda at: at["id"] == "theme")
    c.page.keys("End")
    require(c.page.run("return [document.documentElement.dataset.theme, getComputedStyle(document.body).colorScheme]") == ["dark", "dark"], "the theme is not chosen by keyboard")
    settled(c, "")
    require(c.page.run("return document.documentElement.dataset.theme") == "dark", "the theme is forgotten")
    c.page.run("const theme = document.querySelector('#theme'); theme.value = 'auto'; theme.dispatchEvent(new Event('change'))")
    require(c.page.run("return document.documentElement.dataset.theme ?? null") is None, "the theme of the system is not chosen again")


@check(fleet="overloaded")
def the_focus_stays_while_rows_come_and_go(c):
    settled(c, "#/requests?show=open")
    c.page.until_text("Show up to 1,000", "main")
    request = c.site.fleet.requests[3]["request"]
    c.page.run("document.querySelector(`main a[href='#/requests/${arguments[0]}']`).focus()", request)
    # Another one goes to the top, and the one with the focus moves down.
    added = c.site.fleet.open_request("dispute", "queued", 50)
    c.site.fleet.requests.insert(0, c.site.fleet.requests.pop())
    c.page.until("the new request", lambda: c.page.run("return !!document.querySelector(`main a[href='#/requests/${arguments[0]}']`)", added["request"]))
    require(c.page.focused()["href"] == f"#/requests/{request}", f"the focus is at {c.page.focused()}")
    c.site.fleet.requests.insert(10, c.site.fleet.requests.pop(4))
    c.page.until("the order", lambda: c.page.run(
        "return [...document.querySelectorAll('main tbody a')].findIndex((a) => a.getAttribute('href').endsWith(arguments[0]))", request) == 10)
    require(c.page.focused()["href"] == f"#/requests/{request}", f"the focus is at {c.page.focused()} after a move down")
    c.site.fleet.requests.insert(2, c.site.fleet.requests.pop(10))
    c.page.until("the order", lambda: c.page.run(
        "return [...document.querySelectorAll('main tbody a')].findIndex((a) => a.getAttribute('href').endsWith(arguments[0]))", request) == 2)
    require(c.page.focused()["href"] == f"#/requests/{request}", f"the focus is at {c.page.focused()} after a move up")


@check(real=True, fleet="loaded")
def nothing_moves_for_readers_who_do_not_want_it(c):
    c.page.media(prefers_reduced_motion="reduce")
    for place in ["", "#/workers"]:
        settled(c, place)
        moving = c.page.run("""return [...document.querySelectorAll('*')].filter((node) => {
            const style = getComputedStyle(node);
            return style.animationName !== 'none' || style.transitionDuration.split(',').some((time) => parseFloat(time) > 0);
        }).length""")
        require(moving == 0, f"{moving} elements move")


@check(real=True, fleet="lost")
def the_document_is_well_formed(c):
    for place in places(c):
        settled(c, place)
        wrong = c.page.run(probes.DOCUMENT)
        require(not wrong, f"{place or 'the overview'}: {wrong[:4]}")


def walk(c):
    """All stops of the Tab key, from the beginning of the page to its end."""
    stops = []
    for _ in range(400):
        c.page.keys("Tab")
        at = c.page.focused()
        if at["tag"] == "body" or (stops and c.page.run("return document.activeElement === window.firstStop")):
            return stops
        if not stops:
            c.page.run("window.firstStop = document.activeElement")
        stops.append(at)
    require(False, "the Tab key does not come to the end of the page")


def to(c, wanted):
    """Presses Tab until the focus is where it is wanted."""
    for _ in range(400):
        c.page.keys("Tab")
        if wanted(c.page.focused()):
            return
    require(False, f"the Tab key does not lead there; the last stop is {c.page.focused()}")
