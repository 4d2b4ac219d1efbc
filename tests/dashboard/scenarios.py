"""What a coordinator answers in the situations that the dashboard is checked in.

The API is that of a real coordinator; only what it says is made up. `build(name)` makes a `Fleet`; its methods give the
bodies of the answers as the clock goes on.
"""

import random
import re
import time
import uuid

KINDS = ["dispute", "approval", "backing_system", "backing"]
ENGINES = ["wt36.0.20-x86_64-v3-8f4d71b115322584", "wt36.0.20-x86_64-v2-de8b3857b7ec7fa1", "wt35.0.1-x86_64-v3-1c0ffee0ddba1100"]
HOSTILE = [
    '<img src=x onerror="window.hostile=1">',
    '"><script>window.hostile=1</script>',
    "javascript:window.hostile=1",
    "\u202egnp.exe {{7*7}} ${window.hostile=1}",
    "A" * 300,
]
NAMES = ["empty", "idle", "loaded", "lost", "failed", "overloaded", "large", "standby", "hostile"]
HISTORY_MS = 5000


def now_ms():
    return int(time.time() * 1000)


class Fleet:
    """One situation of a fleet."""

    def __init__(self, name, seed=1):
        self.name = name
        self.random = random.Random(seed)
        self.started_ms = now_ms() - 3 * 3600_000
        # Above 2**53: a program that reads it as a floating-point number shows another one.
        self.token = (1_764_500_000 << 32) + 17
        self.standby = False
        self.workers, self.requests, self.ended, self.artifacts, self.samples = [], [], [], [], []
        self.kept_events = []
        self.queue = dict.fromkeys(KINDS, 0)
        self.oldest = dict.fromkeys(KINDS)
        self.prepare_queue = {"background": 0, "normal": 0, "critical": 0}
        self.prepare_oldest = dict.fromkeys(self.prepare_queue)
        self.executed = self.prepared = self.overloaded = self.inconsistencies = self.coalesced = 0
        self.per_second = 0
        self.refused_per_second = 0
        self.not_compiled_for = []
        self.clients = 0
        self.open_extra = 0

    # What is in it

    def hex(self, digits):
        return f"{self.random.getrandbits(4 * digits):0{digits}x}"

    def uuid(self):
        return str(uuid.UUID(int=(0x0193_8A7C << 96) | self.random.getrandbits(96)))

    def worker(self, host, kind="execute", **given):
        user = given.pop("user", "alice")
        worker = {
            "id": f"{kind}.{user}.01938a7c{self.hex(24)}", "kind": kind, "slots": 4, "running": 0, "engine": ENGINES[0], "host": host,
            "version": "0.9.2", "draining": False, "secure": True, "missing_security": [], "trouble": None,
            "signs_with": "7f3a1c9b2d4e5f60" if kind == "prepare" else None, "trusts": [] if kind == "prepare" else ["7f3a1c9b2d4e5f60"],
            "state": "available", "heard_ms_ago": self.random.randrange(20, 900), "joined_ms": self.started_ms + self.random.randrange(3_000_000), "staged": 0, "fetching": 0,
        }
        worker.update(given)
        self.workers.append(worker)
        return worker

    def artifact(self, **given):
        code, prep = self.hex(64), self.hex(64)
        engine = given.get("engine", ENGINES[0])
        artifact = {
            "id": f"{code}/{prep}/{engine}", "code": code, "prep": prep, "engine": engine, "state": "prepared",
            "bytes": self.random.randrange(2 << 20, 24 << 20), "users": 0, "waiters": 0, "holders": self.random.randrange(1, 6),
            "last_used_ms": now_ms() - int(self.random.expovariate(1 / 900_000)), "error": None, "pinned": False,
        }
        artifact.update(given)
        self.artifacts.append(artifact)
        return artifact

    def usage(self, cpu, limit=2000.0, attempt=1, worker="execute.alice.x", end="valid"):
        job = {"worker": worker, "cpu_ms": cpu, "cpu_limit_ms": limit, "wall_ms": round(cpu * 1.04, 3), "io_ms": 0.4, "max_rss_bytes": 41 << 20}
        return {**job, "attempt": attempt, "outcome": end, "memory_pages": 84, "memory_pages_limit": 2080, "pov_bytes": 1_412_096,
                "pov_decompressed_bytes": 3_145_728, "pov_limit_bytes": 41_943_040}

    def open_request(self, kind, state, waited, **given):
        at = now_ms()
        worker = self.random.choice(self.workers) if state == "running" and self.workers else None
        request = {
            "request": self.uuid(), "client": f"validator-{self.random.randrange(1, 9)}.01938a7c{self.hex(24)}", "work": "execute", "kind": kind, "code": self.hex(64),
            "state": state, "arrived_ms": at - waited, "deadline_ms": at - waited + 12_000, "attempts": 1 if worker else 0,
            "worker": worker and worker["id"], "host": worker and worker["host"], "waiters": 1, "artifact": None, "compiling": None,
            "why": ["It waits in the queue of its kind.", "Two more urgent jobs are before it.", "All 8 slots of its engine are busy."],
        }
        request.update(given)
        self.requests.append(request)
        return request

    def ended_request(self, outcome, kind, ago, cpu, **given):
        workers = [w for w in self.workers if w["kind"] == "execute"] or [{"id": "execute.alice.01938a7c" + self.hex(24), "host": "rack1"}]
        worker = self.random.choice(workers)
        queued, prepare = self.random.randrange(0, 40), given.pop("prepare_ms", 0)
        execute = int(cpu * 1.1) + 2
        request = {
            "request": self.uuid(), "client": f"validator-{self.random.randrange(1, 9)}.01938a7c{self.hex(24)}", "work": "execute", "kind": kind, "code": self.hex(64),
            "state": "ended", "ended_ms": now_ms() - ago, "outcome": outcome, "reason": None, "attempts": 1, "worker": worker["id"], "host": worker["host"],
            "queued_ms": queued, "prepare_ms": prepare, "execute_ms": execute, "total_ms": queued + prepare + execute, "artifact": None,
            "usage": {"preparation": None, "executions": [self.usage(cpu, worker=worker["id"], end=outcome)]}, "retries": [],
            "why": [f"It waited {queued} ms in the queue.", f"It ran at {worker['id']} on {worker['host']} for {execute} ms."],
        }
        request.update(given)
        self.ended.append(request)
        return request

    def history(self, samples, verdicts, p50, p99, busy, queue, failed=0, ratio=0.4):
        """Half an hour or less, with some noise."""
        slots = sum(w["slots"] for w in self.workers if w["kind"] == "execute")
        prepare_slots = sum(w["slots"] for w in self.workers if w["kind"] == "prepare")
        at = now_ms() - now_ms() % HISTORY_MS
        noise = lambda value: max(0, value * self.random.uniform(0.8, 1.2))
        for n in range(samples):
            valid = int(noise(verdicts))
            self.samples.append({
                "at_ms": at - (samples - 1 - n) * HISTORY_MS,
                "verdicts": {"valid": valid, "invalid": int(noise(verdicts / 40)), "failed": failed if n > samples - 20 else 0},
                "total_ms": {"p50": noise(p50), "p99": noise(p99), "max": noise(p99 * 1.8)} if valid else dict.fromkeys(["p50", "p99", "max"], 0.0),
                "queued_ms": {"p50": noise(p50 / 10), "p99": noise(p99 / 4), "max": noise(p99 / 2)} if valid else dict.fromkeys(["p50", "p99", "max"], 0.0),
                "cpu_ms": int(noise(busy * 0.8 * HISTORY_MS)), "cpu_limit_ratio_max": round(noise(ratio), 3), "prepare_busy": min(prepare_slots, self.random.randrange(2)),
                "prepare_slots": prepare_slots, "execute_busy": min(slots, int(noise(busy))), "execute_slots": slots,
                "prepare_queue": int(noise(sum(self.prepare_queue.values()))), "execute_queue": int(noise(queue * n / max(samples - 1, 1))), "requests": int(noise(queue + busy)),
            })

    # What it answers

    def passed(self):
        return max(0.0, (now_ms() - self.built_ms) / 1000)

    def status(self, full=True):
        of = lambda kind, key: sum(w[key] for w in self.workers if w["kind"] == kind)
        number = lambda kind: sum(w["kind"] == kind for w in self.workers)
        executed = self.executed + int(self.passed() * self.per_second)
        overloaded = self.overloaded + int(self.passed() * self.refused_per_second)
        requests = len(self.requests) + self.open_extra
        body = {
            "at_ms": now_ms(), "fleet": "pvf", "started_ms": self.started_ms, "version": "0.9.2", "token": self.token,
            "workers_total": len(self.workers), "prepare_workers": number("prepare"), "prepare_slots": of("prepare", "slots"), "prepare_busy": of("prepare", "running"),
            "execute_workers": number("execute"), "execute_slots": of("execute", "slots"), "execute_busy": of("execute", "running"),
            "requests": requests, "request_bytes": requests * 41_000, "clients": self.clients, "prepare_queue": self.prepare_queue,
            "prepare_oldest_ms": self.prepare_oldest, "execute_queue": self.queue, "execute_oldest_ms": self.oldest,
            "execute_selected": {kind: executed * part // 100 for kind, part in zip(KINDS, [6, 44, 10, 40])},
            "shares": {"window": 12, "percent": {"dispute": 70, "approval": 80, "backing_system": 100, "backing": 100}},
            "artifacts": len(self.artifacts), "artifact_bytes": sum(a["bytes"] for a in self.artifacts), "prepared": self.prepared, "executed": executed,
            "coalesced": self.coalesced, "overloaded": overloaded, "inconsistencies": self.inconsistencies, "not_compiled_for": self.not_compiled_for,
            "trusted_keys": ["7f3a1c9b2d4e5f60"], "insecure_workers": sum(not w["secure"] for w in self.workers),
        }
        if full:
            body["workers"] = self.workers[:256]
            body["counts"] = {"prepare_enqueued": self.prepared, "execute_dispatched": executed, "retried": 3, "workers_lost": 2, "cross_checks": 11, "overloaded": overloaded}
        return body

    def answer(self, path, query):
        """Status and body of an address of the API. As a coordinator does, it refuses parameters that it does not know."""
        at, name = now_ms(), path.split("/")[0]
        if path.startswith("requests/"):
            found = next((r for r in self.requests + self.ended if r["request"] == path.split("/", 1)[1]), None)
            return (200, {"at_ms": at, **found}) if found else (404, {"error": "no such request is open, or among the last ones that ended"})
        if name not in PARAMETERS:
            return 404, {"error": f"no such question: {name!r}"}
        try:
            return 200, {"at_ms": at, **self.listed(name, Query(name, query))}
        except Refused as refused:
            return 400, {"error": str(refused)}

    def listed(self, name, query):
        if name == "status":
            return self.status()
        if name == "history":
            return {"interval_ms": HISTORY_MS, "samples": self.samples}
        if name == "workers":
            found = [w for w in self.workers if query.has(w, "host", "kind", "state")]
            return {"total": len(found), "workers": found[:query.limit]}
        if name == "artifacts":
            found = [a for a in self.artifacts if query.has(a, "state", "engine") and query.get("code", "").removeprefix("0x") in ("", a["code"])]
            key = "bytes" if query.get("sort") == "bytes" else "last_used_ms"
            found.sort(key=lambda a: -a[key])
            return {"total": len(found), "complete": True, "bytes": sum(a["bytes"] for a in found), "artifacts": found[:query.limit]}
        user = lambda r: query.get("client") in (None, r["client"].rsplit(".", 1)[0])
        matches = lambda r: query.has(r, "kind") and user(r) and query.get("code", "").removeprefix("0x") in ("", r["code"])
        ended = sorted(filter(matches, self.ended), key=lambda r: -r["ended_ms"])[:1000]
        opened = list(filter(matches, self.requests))
        found = {
            None: opened + ended, "open": opened, "ended": ended, "failed": [r for r in ended if r["outcome"] not in ("valid", "ok")][:200],
            "slow": sorted(ended, key=lambda r: -r["total_ms"])[:100],
        }[query.get("state")]
        # The lists leave out the sentences that the page of one request has.
        requests = [{key: value for key, value in r.items() if key != "why"} for r in found[:query.limit]]
        return {"open_total": len(opened), "complete": True, "requests": requests}


class Refused(Exception):
    """A parameter is wrong."""


#: The parameters of each question, with the names that a value must be one of.
PARAMETERS = {
    "status": {}, "history": {},
    "workers": {"host": None, "kind": ["prepare", "execute"], "state": ["available", "suspect", "paused", "draining"]},
    "artifacts": {"state": ["listed", "looking-up", "dropping", "preparing", "prepared", "failed", "abandoned"], "code": None, "engine": None,
                  "sort": ["last_used", "bytes"]},
    "requests": {"state": ["open", "ended", "failed", "slow"], "kind": ["dispute", "approval", "backing-system", "backing"], "code": None, "client": None},
}
LIMITS = {"workers": (1000, 10_000), "artifacts": (1000, 10_000), "requests": (100, 1000)}


class Query(dict):
    """The parameters of a question, checked."""

    def __init__(self, name, given):
        super().__init__(given)
        usual, most = LIMITS.get(name, (0, 0))
        self.limit = int(self.pop("limit", usual)) if most else 0
        if most and not 1 <= self.limit <= most:
            raise Refused(f"limit: {self.limit} is outside 1..={most}")
        for parameter, value in self.items():
            if parameter not in PARAMETERS[name]:
                raise Refused(f"{parameter}: no such parameter of this question")
            names = PARAMETERS[name][parameter]
            if names and value not in names:
                raise Refused(f"{parameter}: {value!r} is none of {', '.join(names)}")
        if "code" in self and not re.fullmatch("(0x)?[0-9a-f]{64}", self["code"]):
            raise Refused("code: expected 64 hexadecimal digits")

    def has(self, thing, *keys):
        return all(self.get(key) in (None, thing[key]) for key in keys)


def build(name):
    """The fleet of a situation."""
    import situations

    fleet = Fleet(name, seed=7)
    getattr(situations, name)(fleet)
    fleet.built_ms = now_ms()
    return fleet
