"""What each view has in each situation."""

from browser import require
from runner import check
from scenarios import HOSTILE, now_ms
from situations import MISSING, PREPARE_ERROR, TRAP


def attention(c):
    return c.page.text("#attention")


@check(fleet="loaded")
def the_overview_has_the_numbers_of_the_status(c):
    c.open()
    c.page.until_text("Live", "#link")
    c.page.until_text("Nothing needs attention", "#attention")
    text = c.page.until_text("of 48", ".tiles") and c.page.text("main")
    for part in ["Execute queue", "16 waiting", "Prepare queue", "1 waiting", "Dispute", "Approval", "Backing, system", "70 %", "80 %", "Active coordinator",
                 "0.9.2", "8 clients", "7f3a1c9b2d4e5f60"]:
        require(part in text, f"the overview lacks {part!r}")
    # The token has more digits than a floating-point number keeps.
    require(str(c.site.fleet.token) in c.page.text("#coordinator"), "the fencing token is not the one of the status")
    c.page.until("plots with their curves", lambda: c.page.run(
        "return [...document.querySelectorAll('.plot .curve')].filter((curve) => curve.getAttribute('d').length > 100).length >= 10"))
    labels = c.page.run("return [...document.querySelectorAll('.plot .area[aria-label]')].map((area) => area.getAttribute('aria-label'))")
    require(len(labels) == 6 and all("Last:" in label for label in labels), f"a plot lacks its text: {labels}")
    c.page.run("document.querySelector('.plot details').open = true")
    c.page.until("the values of a plot as a table", lambda: c.page.run("return document.querySelectorAll('.plot details tbody tr').length >= 10"))
    c.page.run("document.querySelector('#coordinator details').open = true")
    c.page.until_text("cross checks", "#coordinator")


@check(fleet="empty")
def an_empty_fleet_says_what_to_do(c):
    c.open()
    c.page.until_text("No worker has registered", "#empty")
    for part in ["pvf up", "pvf-prepare-worker", "docs/operate/deploy.md", "pvf doctor"]:
        require(part in c.page.text("#empty"), f"the empty state lacks {part!r}")
    require("No worker is registered" in attention(c), "an empty fleet needs attention")
    for place, part in [("#/workers", "No worker is registered"), ("#/requests?show=latest", "No request is open"), ("#/artifacts", "No artifact yet"), ("#/events", "Nothing but verdicts")]:
        c.page.go(place)
        c.page.until_text(part, "main")


@check(fleet="idle")
def a_fleet_without_requests_says_what_to_do(c):
    c.open()
    c.page.until_text("No request yet", "#empty")
    require("params.scale" in c.page.text("#empty"), "the empty state lacks the command")
    require("pvf up" not in c.page.text("#empty"), "the fleet has workers")


@check(fleet="lost")
def lost_and_troubled_workers_are_named(c):
    c.open()
    c.page.until_text("2 workers lost and not back", "#attention")
    c.page.until_text("1 worker without a complete sandbox", "#attention")
    for part in ["rack2-node2.example.net", MISSING, "1 worker paused", "1 worker suspect", "1 worker draining"]:
        require(part in attention(c), f"what needs attention lacks {part!r}")
    require(c.page.text("#problems") == "4 problems", f"the header counts {c.page.text('#problems')!r}")
    c.page.go("#/workers")
    c.page.until_text("12 workers", "main")
    text = c.page.text("main")
    for part in ["suspect", "paused", "draining", "insecure", "secure, with consent", "pids.max 512", "rack2-node3.example.net", "wt36.0.20"]:
        require(part in text, f"the workers lack {part!r}")
    c.page.go("#/workers?state=insecure")
    c.page.until_text("1 of 12 workers", "main")
    c.page.go("#/events?show=problems")
    c.page.until_text("worker-lost", "main")
    # The id of a job has 64 bits.
    require("9007199254740993" in c.page.text("main"), "the job's id is not the one of the event")
    # A worker of the same kind and host stands for one that was lost.
    c.site.server.publish("worker-joined", {"worker": "execute.alice." + "1" * 32, "host": "rack2-node2.example.net", "slots": 4, "engine": "e", "version": "0.9.2",
                                            "secure": True, "running": 0})
    c.page.go("#/")
    c.page.until_text("1 worker lost and not back", "#attention")


@check(fleet="failed")
def failures_have_their_reasons(c):
    c.open()
    c.page.until_text("3 PVFs cannot be prepared", "#attention")
    c.page.until_text("requests without a clear verdict", "#attention")
    for part in [PREPARE_ERROR, "Machines disagree about 1 candidate", "rack1-node1.example.net and rack1-node2.example.net"]:
        require(part in attention(c), f"what needs attention lacks {part!r}")
    c.page.go("#/artifacts?state=failed")
    c.page.until_text(PREPARE_ERROR, "main")
    require(c.page.run("return document.querySelectorAll('main tbody tr').length") == 3, "three artifacts have failed")
    c.page.go("#/requests?show=failed")
    c.page.until_text("possibly_invalid", "main")
    text = c.page.text("main")
    for part in ["preparation_failed", "internal", "deadline", TRAP, "2.00 s of 2 s (100 %)", "398 ms of 6 min (<1 %, preparation)"]:
        require(part in text, f"the failed requests lack {part!r}")
    c.page.go("#/requests?show=slow")
    c.page.until_text("1.71 s of 2 s (86 %)", "main")


@check(fleet="failed")
def a_request_has_its_timeline_attempts_and_why(c):
    request = next(r for r in c.site.fleet.ended if r["outcome"] == "possibly_invalid")
    c.open(f"#/requests/{request['request']}")
    c.page.until_text(request["request"], "main")
    text = c.page.text("main")
    for part in ["possibly_invalid", request["reason"], *request["why"], request["client"], request["code"], "Attempt 1", "Attempt 2", "tried again", "ambiguous",
                 "2.00 s of 2 s (100 %)", "84 of 2,080 pages", "41.0 MiB", "The coordinator accepted it", "pvf replay", "pvf bundle list", "docs/operate/bundles.md",
                 "request=" + request["request"], request["retries"][0]["host"]]:
        require(part in text, f"the request lacks {part!r}")
    moments = c.page.run("return [...document.querySelectorAll('.timeline li')].map((item) => item.innerText)")
    require(len(moments) == 3 and "accepted" in moments[0] and "tried again" in moments[1] and "ended" in moments[2], f"the timeline is {moments}")
    c.page.go("#/requests/00000000-0000-0000-0000-000000000000")
    c.allow("404")
    c.page.until_text("does not know request 00000000", "main")


@check(fleet="loaded")
def an_open_request_is_followed_to_its_end(c):
    request = c.site.fleet.open_request("dispute", "queued", 900)
    c.open(f"#/requests/{request['request']}")
    c.page.until_text("It waits in the queue for a slot", "main")
    require("A replay bundle is written by its client" in c.page.text("main"), "an open request has no bundle yet")
    c.site.fleet.requests.remove(request)
    ended = c.site.fleet.ended_request("valid", "dispute", 0, 40.0, request=request["request"])
    c.page.until_text("It ended as valid", "main")
    require(ended["worker"] in c.page.text("main"), "the worker that decided is not named")


@check(fleet="loaded")
def a_preparation_shows_its_progress_and_a_pinned_artifact_its_pin(c):
    c.open("#/requests")
    c.page.until_text("812 of 3,456 functions", "main")
    preparing = next(request for request in c.site.fleet.requests if request["state"] == "preparing")
    c.page.go(f"#/requests/{preparing['request']}")
    c.page.until_text("812 of 3,456 functions", "main")
    c.page.go("#/artifacts")
    c.page.until_text("pinned: it is kept", "main")


@check(fleet="overloaded")
def an_overload_is_said_first(c):
    c.open()
    c.page.until("refusals as the first of what needs attention", lambda: "Overloaded:" in c.page.text("#attention li:first-child strong"))
    text = attention(c)
    for part in ["The queue is deep: 10,253 executions", "The oldest dispute has waited for 4 s", "The oldest approval has waited", "No prepare worker compiles",
                 "wt35.0.1-x86_64-v3-1c0ffee0ddba1100", "1 inconsistency in the coordinator's state", "critical preparation"]:
        require(part in text, f"what needs attention lacks {part!r}")
    for worker in c.site.fleet.workers:
        worker["running"] = worker["slots"]
    c.page.until_text("No execute slot is free", "#attention")
    c.page.go("#/requests?show=open&kind=dispute")
    c.page.until_text("Expires in", "main")
    kinds = c.page.run("return [...document.querySelectorAll('main tbody tr td:nth-child(2)')].map((cell) => cell.innerText)")
    require(kinds and set(kinds) == {"dispute"}, f"the filter by kind shows {set(kinds)}")


@check(fleet="failed")
def lists_are_filtered_by_code_and_user(c):
    """A coordinator looks for complete hashes and for users; the page looks for less in what is listed."""
    artifact, request = c.site.fleet.artifacts[17], c.site.fleet.requests[4]
    only = lambda text: c.page.until(f"only {text}", lambda: c.page.run("return document.querySelectorAll('main tbody tr').length") == 1 and text in c.page.text("main"))
    for code in [artifact["code"], "0x" + artifact["code"], artifact["code"][3:20]]:
        c.open(f"#/artifacts?code={code}")
        only(artifact["code"][:10])
    asked = [path for path in c.site.server.requests if "/api/artifacts?" in path and "code=" in path]
    require(len(asked) >= 2 and all(artifact["code"] in path for path in asked), f"the page asked for {asked}")
    c.open(f"#/requests?show=open&code={request['code'][:12]}")
    only(request["request"][:10])
    c.open(f"#/requests?show=open&client={request['client']}")
    only(request["request"][:10])
    user = request["client"].split(".")[0]
    c.open(f"#/requests?show=open&client={user}")
    number = sum(r["client"].startswith(user + ".") for r in c.site.fleet.requests)
    c.page.until(f"the {number} requests of {user}", lambda: c.page.run("return document.querySelectorAll('main tbody tr').length") == number)
    c.allow("400 (Bad Request)")
    c.open("#/requests?show=open&kind=nonsense")
    c.page.until_text("The requests could not be read: kind: 'nonsense' is none of", "main")


@check(fleet="hostile")
def what_other_machines_say_is_text(c):
    request = next(r for r in c.site.fleet.ended if r["reason"] == HOSTILE[0])
    odd = next(r for r in c.site.fleet.ended if "<b>" in r["request"])
    c.site.server.publish("verdict", {"request": HOSTILE[0], "client": HOSTILE[1], "code": HOSTILE[0], "outcome": HOSTILE[0], "reason": HOSTILE[0], "attempts": 1, "total_ms": 1})
    seen = {"": "#attention", "#/workers": "main", "#/requests?show=failed": "main", "#/artifacts": "main", "#/events": "main",
            "#/events?show=verdicts": "main", f"#/requests/{request['request']}": "main"}
    for place, where in seen.items():
        c.open(place)
        c.page.until_text("<img src=x", where)
        bad = c.page.run("return [window.hostile, document.querySelectorAll('main img, main script, main b b, main iframe').length, "
                         "[...document.querySelectorAll('a')].filter((a) => a.protocol === 'javascript:').length]")
        require(bad == [None, 0, 0], f"{place or 'the overview'} made something of a text: {bad}")
        # A character that turns the direction of writing would turn what stands beside it.
        require("\u202e" not in c.page.text("main"), f"{place or 'the overview'} shows a control character as it is")
        require(c.page.run("return document.documentElement.scrollWidth <= innerWidth"), f"{place or 'the overview'} is wider than the window")
    c.open("#/requests?show=latest")
    c.page.until_text("../../<b>", "main")
    c.page.run("[...document.querySelectorAll('main a')].find((a) => a.innerText.includes('<b>')).click()")
    c.page.until_text(odd["request"], "main h2")


@check(fleet="loaded")
def events_are_listed_paused_and_found(c):
    c.open("#/events")
    c.page.until_text("Live", "#link")
    for n in range(3):
        c.site.server.publish("client-gone", {"client": f"validator-{n}.x", "silent_ms": 30_000})
    c.page.until_text("validator-2.x", "main")
    c.page.run("[...document.querySelectorAll('main button')].find((b) => b.innerText === 'Pause').click()")
    c.site.server.publish("client-gone", {"client": "validator-late.x", "silent_ms": 30_000})
    c.page.until("a paused list", lambda: "paused" in c.page.text("main h2"))
    c.page.until("the event behind the pause", lambda: c.page.run("return import('./live.js').then((live) => live.state.events.notices.length)") == 4)
    require("validator-late" not in c.page.text("main"), "a paused list goes on")
    c.page.run("[...document.querySelectorAll('main button')].find((b) => b.innerText === 'Go on').click()")
    c.page.until_text("validator-late.x", "main")
    c.page.run("const field = document.querySelector('main input'); field.value = 'validator-1'; field.dispatchEvent(new Event('input'))")
    c.page.until("only what matches", lambda: c.page.run("return document.querySelectorAll('main tbody tr').length") == 1)
    c.site.server.publish("verdict", {"request": "r-1", "client": "c", "code": "0x1", "outcome": "possibly_invalid", "reason": "why it is", "attempts": 2, "total_ms": 41})
    c.page.go("#/events?show=verdicts")
    c.page.until_text("possibly_invalid after 41 ms, 2 attempts: why it is", "main")


@check(fleet="loaded")
def a_new_token_is_a_takeover(c):
    c.open()
    c.page.until_text("Live", "#link")
    c.site.fleet.token += 1
    c.site.fleet.started_ms = now_ms()
    c.page.until_text("Another coordinator took over", "#attention")
    c.page.until_text(str(c.site.fleet.token), "#coordinator")


@check(real=True)
def every_view_has_what_the_api_says(c):
    status = c.site.api("status")
    c.open()
    c.page.until_text("Live", "#link")
    c.page.until_text(str(status["version"]), "#coordinator")
    require(str(status["token"]) in c.page.text("#coordinator"), "the fencing token is not the one of the status")
    c.page.go("#/workers")
    total = c.site.api("workers?limit=10000")["total"]
    c.page.until_text(f"{total:,} worker{'' if total == 1 else 's'}", "main h2")
    hosts = {worker["host"] for worker in c.site.api("workers?limit=10000")["workers"]}
    for host in sorted(hosts)[:3]:
        require(not total or len(hosts) > 40 or host in c.page.text("main"), f"the workers lack host {host!r}")
    c.page.go("#/artifacts")
    c.page.until("the artifacts", lambda: c.page.text("main h2").split()[-1] in ("bytes", "KiB", "MiB", "GiB", "TiB"))
    artifacts = c.site.api("artifacts")
    rows = c.page.run("return document.querySelectorAll('main tbody tr').length")
    require(rows == min(50, artifacts["total"]) or artifacts["total"] == 0, f"{rows} rows of {artifacts['total']} artifacts")
    for show in ["open", "failed", "slow", "latest"]:
        c.page.go(f"#/requests?show={show}")
        c.page.until_text({"open": " open."}.get(show, "are kept."), "main")
    ended = c.site.api("requests?state=ended&limit=1")["requests"]
    if ended:
        c.page.go(f"#/requests/{ended[0]['request']}")
        c.page.until_text(ended[0]["request"], "main h2")
        c.page.until_text("Run it again", "main")
        for sentence in (c.site.api(f"requests/{ended[0]['request']}") or {"why": []})["why"]:
            require(sentence in c.page.text("main"), f"the request lacks the sentence {sentence!r}")
    c.page.go("#/events")
    c.page.until_text("All but verdicts", "main")
    c.page.go("#/nowhere")
    c.page.until_text("This address leads nowhere", "main")


@check(real="only")
def the_history_agrees_with_the_requests(c):
    """The plots are no better than the samples: the longest request of the last half hour is in one of them."""
    samples = c.site.api("history")["samples"]
    require(samples, "there are no samples")
    since, until = samples[0]["at_ms"], samples[-1]["at_ms"]
    ended = [r for r in c.site.api("requests?state=ended&limit=1000")["requests"] if since < r["ended_ms"] <= until]
    require(ended, "no request has ended: run some against the coordinator first")
    for name in ["total_ms", "queued_ms"]:
        longest, sampled = max(r[name] for r in ended), max(s[name]["max"] for s in samples)
        # Percentiles have two digits.
        require(sampled >= 0.9 * longest, f"a request had {name} {longest}, and the most of the history is {sampled}")
    require(sum(sum(s["verdicts"].values()) for s in samples) >= len(ended), "the history has fewer verdicts than requests have ended")
