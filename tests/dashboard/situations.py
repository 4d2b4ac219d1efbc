"""The situations: each function fills a fleet."""

from scenarios import ENGINES, HOSTILE, KINDS, now_ms

TRAP = "execution: wasm trap: wasm `unreachable` instruction executed; the innermost function is validate_block"
MISSING = "landlock: the kernel does not offer it (CONFIG_SECURITY_LANDLOCK is off, or lsm= leaves it out)"
PREPARE_ERROR = "prevalidation: the code has no memory: a PVF must import or export one memory named `memory`"


def empty(fleet):
    fleet.started_ms = now_ms() - 40_000


def idle(fleet):
    fleet.started_ms = now_ms() - 60_000
    fleet.worker("rack1", "prepare", slots=2)
    fleet.worker("rack1")


def _fleet(fleet, hosts=6, busy=0.6):
    for n in range(hosts):
        host = f"rack{n // 3 + 1}-node{n % 3 + 1}.example.net"
        for _ in range(2):
            fleet.worker(host, running=min(4, int(fleet.random.uniform(busy - 0.3, busy + 0.4) * 4)), staged=fleet.random.randrange(0, 3))
    fleet.worker("rack1-node1.example.net", "prepare", slots=2, running=1)
    fleet.worker("rack2-node1.example.net", "prepare", slots=2)
    fleet.clients = 8


def loaded(fleet):
    _fleet(fleet)
    fleet.executed, fleet.prepared, fleet.coalesced, fleet.per_second = 1_284_113, 214, 40_118, 212
    fleet.queue.update(dispute=0, approval=6, backing_system=1, backing=9)
    fleet.oldest.update(approval=180, backing_system=20, backing=640)
    fleet.prepare_queue["normal"], fleet.prepare_oldest["normal"] = 1, 2400
    for _ in range(60):
        fleet.artifact()
    fleet.artifact(pinned=True)
    fleet.artifact(state="preparing", bytes=0, holders=0, users=3, waiters=1)
    for n in range(16):
        fleet.open_request(fleet.random.choice(["approval", "backing", "backing-system"]), "running" if n < 9 else "queued", 40 * n + 15)
    fleet.open_request("approval", "preparing", 2400, compiling={"compiled": 812, "functions": 3456},
                       why=["Its artifact is being prepared: attempt 1 has been at prepare.alice.01938a7c on rack1 for 2.1 s, 812 of 3456 functions compiled.", "Two other requests wait for the same artifact."])
    for n in range(300):
        fleet.ended_request("valid", fleet.random.choice(["approval", "backing", "dispute"]), 400 * n + 300, fleet.random.uniform(3, 900))
    fleet.ended_request("valid", "backing", 90_000, 1712.4, second_opinion="agreed", prepare_ms=3900)
    fleet.ended_request("ok", None, 190_000, 4120.0, work="precheck", usage={"preparation": fleet.usage(4120.0, 60_000.0), "executions": []}, prepare_ms=4300)
    for n in range(3):
        fleet.ended_request("invalid", "approval", 60_000 * (n + 1), 12.5, reason=TRAP)
    fleet.history(360, 1060, 38, 870, 30, 16, ratio=0.55)


def lost(fleet):
    loaded(fleet)
    gone = [w for w in fleet.workers if w["host"] == "rack2-node2.example.net"]
    for worker in gone:
        fleet.workers.remove(worker)
        fleet.kept_events.append(("worker-lost", {"worker": worker["id"], "host": worker["host"], "jobs": 3, "silent_ms": 6120, "at_ms": now_ms() - 48_000}))
        fleet.kept_events.append(("job-retried", {"job": 9_007_199_254_740_993, "attempt": 1, "kind": "execution", "worker": worker["id"],
                                                  "reason": "worker-lost", "detail": None, "at_ms": now_ms() - 47_900}))
    suspect = fleet.workers[2]
    suspect.update(state="suspect", heard_ms_ago=4200, trouble="refused a dispatch: no free process slot (pids.max 512 reached)")
    fleet.kept_events.append(("worker-suspect", {"worker": suspect["id"], "host": suspect["host"], "why": suspect["trouble"], "at_ms": now_ms() - 20_000}))
    fleet.workers[5].update(state="paused", trouble="3 jobs in a row failed at the machine: template: fork: Cannot allocate memory")
    fleet.workers[7].update(secure=False, missing_security=[MISSING])
    fleet.workers[8].update(secure=True, missing_security=["user namespaces: disabled (allowed by the operator)"])
    fleet.workers[4].update(state="draining", draining=True)
    fleet.ended_request("valid", "approval", 47_000, 1730.0, attempts=2, retries=[
        {"at_ms": now_ms() - 47_900, "attempt": 1, "worker": gone[0]["id"], "host": gone[0]["host"], "reason": "worker-lost", "detail": None}])
    for sample in fleet.samples[-9:]:
        sample["execute_slots"] -= 8
        sample["execute_busy"] = min(sample["execute_busy"], sample["execute_slots"])


def failed(fleet):
    loaded(fleet)
    for n in range(3):
        fleet.artifact(state="failed", bytes=0, holders=0, error=PREPARE_ERROR, last_used_ms=now_ms() - 20_000 * (n + 1))
    bad = fleet.artifacts[-1]
    fleet.ended_request("preparation_failed", "approval", 21_000, 0, reason=PREPARE_ERROR, code=bad["code"], artifact=bad["id"], worker=None, host=None, execute_ms=0,
                        prepare_ms=412, attempts=0, usage={"preparation": {"worker": fleet.workers[-1]["id"], "cpu_ms": 398.2, "cpu_limit_ms": 360_000.0, "wall_ms": 410.1, "io_ms": 2.0,
                                                                          "max_rss_bytes": 71 << 20, "heap_bytes": None, "heap_limit_bytes": None}, "executions": []},
                        why=["The code could not be prepared: " + PREPARE_ERROR, "The failure is the code's own, so it is kept and not tried again."])
    first, second = fleet.workers[0], fleet.workers[3]
    fleet.ended_request("possibly_invalid", "backing", 33_000, 1999.0, reason="the job process was killed by signal 9, twice", attempts=2, worker=second["id"], host=second["host"],
                        usage={"preparation": None, "executions": [fleet.usage(2004.1, attempt=1, worker=first["id"], end="ambiguous"), fleet.usage(1999.0, attempt=2, worker=second["id"], end="ambiguous")]},
                        retries=[{"at_ms": now_ms() - 34_100, "attempt": 1, "worker": first["id"], "host": first["host"], "reason": "ambiguous", "detail": "the job process was killed by signal 9"}],
                        why=["Attempt 1 ended as ambiguous: the job process was killed by signal 9.", "Another machine was asked, and its attempt ended the same."])
    fleet.ended_request("invalid", "backing", 35_000, 2000.4, reason="execution: the job used 2000 ms of CPU time, its limit")
    fleet.ended_request("internal", "dispute", 41_000, 8.0, reason="store: the store gave nothing for 60 s", attempts=3)
    fleet.ended_request("deadline", "backing", 44_000, 1.0, reason="the request expired: its deadline passed or its relay leaf is no longer active", attempts=0)
    fleet.kept_events += [
        ("preparation-failed", {"artifact": bad["id"], "error": PREPARE_ERROR, "at_ms": now_ms() - 21_000}),
        ("opinions-differ", {"job": 41, "request": fleet.uuid(), "client": None, "code": fleet.hex(64), "at_ms": now_ms() - 50_000, "opinions": [
            {"attempt": 1, "worker": first["id"], "host": first["host"], "engine": ENGINES[0], "version": "0.9.2", "verdict": "valid", "reason": None, "result_hash": fleet.hex(64)},
            {"attempt": 2, "worker": second["id"], "host": second["host"], "engine": ENGINES[0], "version": "0.9.2", "verdict": "invalid", "reason": TRAP, "result_hash": None}]}),
    ]
    for sample in fleet.samples[-20:]:
        sample["verdicts"]["failed"] = 2
        sample["cpu_limit_ratio_max"] = 1.002


def overloaded(fleet):
    _fleet(fleet)
    for worker in fleet.workers:
        worker.update(running=worker["slots"], staged=worker["slots"])
    fleet.executed, fleet.prepared, fleet.per_second = 3_114_020, 380, 61
    fleet.overloaded, fleet.refused_per_second = 18_220, 37
    fleet.queue.update(dispute=212, approval=3_840, backing_system=96, backing=6_105)
    fleet.oldest.update(dispute=4_310, approval=11_200, backing_system=2_100, backing=11_900)
    fleet.prepare_queue.update(critical=7, normal=22, background=15)
    fleet.prepare_oldest.update(critical=41_000, normal=120_000, background=500_000)
    fleet.not_compiled_for = [ENGINES[2]]
    fleet.worker("rack9-node1.example.net", engine=ENGINES[2], version="0.9.0")
    fleet.open_extra = 10_000
    fleet.inconsistencies = 1
    for _ in range(400):
        fleet.artifact()
    for n in range(260):
        fleet.open_request(fleet.random.choice([kind.replace("_", "-") for kind in KINDS]), "queued", 40 * n + 100)
    for n in range(200):
        fleet.ended_request("valid", "approval", 400 * n, fleet.random.uniform(3, 1900))
    fleet.history(360, 305, 4200, 11_800, 48, 10_253, ratio=0.93)


def large(fleet):
    for n in range(125):
        host = f"node{n:03}.rack{n // 16:02}.fra1.example.net"
        for _ in range(8):
            fleet.worker(host, "prepare" if n % 25 == 0 and _ == 0 else "execute", slots=16, running=fleet.random.randrange(4, 15), engine=ENGINES[n % 2], version="0.9.2" if n % 7 else "0.9.1")
    fleet.workers[404].update(state="suspect", trouble="no acknowledgement of a dispatch within 2 s")
    fleet.clients, fleet.executed, fleet.prepared, fleet.per_second = 310, 88_214_306, 9_812, 6_150
    fleet.queue.update(approval=31, backing=120)
    fleet.oldest.update(approval=70, backing=310)
    for n in range(10_000):
        fleet.artifact(engine=ENGINES[n % 2])
    for n in range(1000):
        fleet.ended_request("valid", "approval", 3 * n, fleet.random.uniform(3, 900))
    for n in range(900):
        fleet.open_request("backing", "running", 2 * n)
    fleet.history(360, 30_700, 41, 900, 9400, 150)


def standby(fleet):
    loaded(fleet)
    fleet.standby = True


def hostile(fleet):
    loaded(fleet)
    for n, text in enumerate(HOSTILE):
        worker = fleet.workers[n]
        worker.update(host=text, version=text[:80], trouble=text, missing_security=[text], secure=False, engine=text[:64])
        fleet.ended_request("invalid", "approval", 100 + n, 10.0, reason=text, client=text, code=text, worker=text, host=text, request=fleet.uuid(), why=[text],
                            retries=[{"at_ms": now_ms(), "attempt": 1, "worker": text, "host": text, "reason": text, "detail": text}])
        fleet.artifact(state="failed", error=text, code=text, id=f"{text}/{n}", engine=text, prep=text, bytes=0)
        fleet.kept_events += [
            ("worker-lost", {"worker": text, "host": text, "jobs": 1, "silent_ms": 6000, "at_ms": now_ms()}),
            ("worker-suspect", {"worker": text, "host": text, "why": text, "at_ms": now_ms()}),
            (f"new-kind-{n}", {"what": text, "list": [text], "at_ms": now_ms()}),
        ]
    fleet.not_compiled_for = HOSTILE[:2]
    fleet.ended_request("valid", "approval", 10, 10.0, request="../../<b>id</b>?x=1#y", client=HOSTILE[0])
