"""Pictures of the page for people to look at."""

import scenarios

#: Name, scenario, place, width, theme of the system.
SHOTS = [
    ("empty", "empty", "", 1440, "light"),
    ("load-light", "loaded", "", 1440, "light"),
    ("load-dark", "loaded", "", 1440, "dark"),
    ("requests", "loaded", "#/requests?show=slow", 1440, "light"),
    ("lost-worker", "lost", "", 1440, "light"),
    ("lost-worker-workers", "lost", "#/workers", 1440, "dark"),
    ("failed-pvf", "failed", "", 1440, "light"),
    ("failed-pvf-requests", "failed", "#/requests?show=failed", 1440, "light"),
    ("failed-pvf-request", "failed", "REQUEST", 1440, "dark"),
    ("failed-pvf-artifacts", "failed", "#/artifacts?state=failed", 1440, "light"),
    ("overloaded", "overloaded", "", 1440, "light"),
    ("1000-workers", "large", "#/workers", 1440, "light"),
    ("10000-artifacts", "large", "#/artifacts", 1440, "dark"),
    ("standby", "standby", "", 1440, "light"),
    ("disconnected", "loaded", "STOP", 1440, "light"),
    ("events", "lost", "#/events", 1440, "light"),
    ("phone-overview", "lost", "", 360, "light"),
    ("phone-workers", "lost", "#/workers", 360, "dark"),
    ("phone-request", "failed", "REQUEST", 360, "light"),
]
REAL = [("overview", ""), ("workers", "#/workers"), ("requests", "#/requests?show=latest"), ("request", "REQUEST"), ("artifacts", "#/artifacts"), ("events", "#/events")]


def take(given, page, site):
    given.screenshots.mkdir(parents=True, exist_ok=True)
    shots = [(f"real-{name}-{width}-{theme}", None, place, width, theme) for name, place in REAL for width, theme in [(1440, "light"), (1440, "dark"), (360, "light")]]
    for name, scenario, place, width, theme in shots if given.url else SHOTS:
        one = site(given, scenario)
        try:
            page.reset()
            page.size(width, 900 if width > 500 else 780)
            page.media(prefers_color_scheme=theme)
            shot(given.screenshots / f"{name}.png", page, one, place)
        finally:
            page.driver.get("about:blank")
            one.server.stop()


def shot(path, page, site, place):
    if place == "REQUEST":
        failed = site.api("requests?state=failed&limit=100")["requests"] or site.api("requests?state=ended&limit=1")["requests"]
        chosen = next((r for r in failed if r["outcome"].startswith("possibly")), failed[0] if failed else None)
        place = f"#/requests/{chosen['request']}" if chosen else "#/requests"
    page.open(site.url + ("" if place == "STOP" else place))
    if site.fleet is not None and site.fleet.standby:
        page.until_text("standby", "#banner")
    else:
        page.until_text("Live", "#link")
        since = scenarios.now_ms()
        # Some updates, so that rates and plots are there.
        page.until("some updates", lambda: page.run("return import('./live.js').then((live) => live.state.status?.at_ms ?? 0)") > since + 2500)
    if place == "STOP":
        site.server.stop()
        page.until_text("Disconnected since", "#banner")
    page.screenshot(path)
    if place == "STOP":
        site.server.start()
    print(f"picture {path}")
