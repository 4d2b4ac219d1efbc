"""A client of a PVF validation fleet: submit, wait, cancel, heads-up, active leaves, and pulls in both directions.

It is written from ../protocol.md alone, for asyncio, with nats-py and msgpack:

    client = await PvfClient.connect("nats://127.0.0.1:4222", user="alice", password=secret)
    verdict = await client.execute(code, candidate, kind="backing", within=30)
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import Any

import nats
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

import pvf_wire as wire
from pvf_wire import Candidate, Kind, Refused, ValidationResult, Verdict

#: How long the answer to one message is waited for.
ACKNOWLEDGE = 2.0
#: How often verdicts that do not arrive are asked for.
ASK_AGAIN = 3.0
#: Requests for chunks that are outstanding at once.
WINDOW = 8
CHUNK = 256 * 1024


def _new_session() -> uuid.UUID:
    """UUID version 7: the time in front, random bits behind it."""
    value = (time.time_ns() // 1_000_000) << 80 | random.SystemRandom().getrandbits(76)
    value = value & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=value & ~(3 << 62) | 2 << 62)


class PvfClient:
    """One session of a user on the bus of a fleet."""

    def __init__(self, bus: Nats, user: str, fleet: str) -> None:
        self._bus, self._fleet = bus, fleet
        self.id = f"{user}.{_new_session().hex}"
        self._subject = f"{fleet}.v4.client.{self.id}"
        self._verdicts: dict[uuid.UUID, asyncio.Future[Any]] = {}
        self._held: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self._user, self._connection, self._next = user, f"{random.SystemRandom().getrandbits(64):x}", 0
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        # The highest fencing token that a coordinator had, and that one announced.
        self._token, self._announced = 0, 0
        self._replaced = asyncio.Event()
        self._leaves: dict[bytes, list[bytes]] = {}
        self._repeating: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        servers: str | Sequence[str],
        *,
        user: str | None = None,
        password: str | None = None,
        subject_user: str | None = None,
        fleet: str = "pvf",
        **options: Any,
    ) -> PvfClient:
        """Connects. `options` go to nats-py: credentials, TLS. The user is part of all subjects."""
        name = subject_user or user or "default"
        if user is not None:
            options |= {"user": user, "password": password}
        bus = await nats.connect(
            [servers] if isinstance(servers, str) else list(servers),
            name="pvf python client",
            **options,
        )
        client = cls(bus, name, fleet)
        await bus.subscribe(f"_INBOX.{name}.*.{client._connection}.*", cb=client._on_answer)
        await bus.subscribe(f"{client._subject}.verdict", cb=client._on_verdict)
        await bus.subscribe(f"{client._subject}.pull", cb=client._on_pull)
        await bus.subscribe(f"{fleet}.v4.coordinator.announce", cb=client._on_announcement)
        await bus.flush()
        return client

    async def close(self) -> None:
        """Ends the session. Requests without a verdict are not cancelled."""
        await self._bus.drain()

    # Requests

    async def execute(
        self,
        code: bytes,
        candidate: Candidate,
        *,
        kind: Kind = "backing",
        params: Sequence[Any] = (),
        within: float = 60.0,
        exec_timeout: float | None = None,
        relay_leaf: bytes | None = None,
        fresh: bool = False,
        code_bomb_limit: int = 30 << 20,
        pov_bomb_limit: int = 40 << 20,
    ) -> Verdict:
        """Validates a candidate. A large result that its worker has lost is computed again."""
        deadline = time.monotonic() + within
        while True:
            work = {
                "execute": {
                    "kind": kind,
                    "context": candidate.context(),
                    "block_data": wire.block_data(candidate.block_data),
                    "pov_bomb_limit": pov_bomb_limit,
                    "exec_timeout": None if exec_timeout is None else wire.duration(exec_timeout),
                    "relay_leaf": relay_leaf,
                    "fresh": fresh,
                }
            }
            held = [("blob", wire.blob_hash(candidate.block_data), candidate.block_data)]
            left = max(deadline - time.monotonic(), 0.001)
            verdict = await self._request(code, work, params, left, code_bomb_limit, held)
            if verdict.outcome != "valid":
                return verdict
            try:
                return await self._with_result(verdict)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                fresh = True

    async def precheck(
        self, code: bytes, *, params: Sequence[Any] = (), within: float = 120.0, code_bomb_limit: int = 30 << 20
    ) -> Verdict:
        """Whether code can be prepared, under the limits of pre-checking."""
        return await self._request(code, "precheck", params, within, code_bomb_limit)

    async def heads_up(
        self,
        code: bytes,
        *,
        wait_prepared: bool = False,
        params: Sequence[Any] = (),
        within: float = 120.0,
        code_bomb_limit: int = 30 << 20,
    ) -> Verdict:
        """Announces code. Returns when a worker has taken it, or with `wait_prepared` when it is prepared."""
        work = {"heads-up": {"wait_prepared": wait_prepared}}
        return await self._request(code, work, params, within, code_bomb_limit)

    async def cancel(self, request: uuid.UUID) -> None:
        """Cancels a request of this session. It gets no verdict."""
        await self._ask({"cancel": {"request": request.bytes}})

    async def active_leaves(
        self, activated: bytes | None = None, ancestors: Sequence[bytes] = (), deactivated: Sequence[bytes] = ()
    ) -> None:
        """Tells of a change of the relay chain's leaves: queued backing requests of leaves that are gone expire. What
        is active is told again to a coordinator that takes over."""
        for gone in deactivated:
            self._leaves.pop(gone, None)
        if activated is not None:
            self._leaves[activated] = list(ancestors)
        leaf = None if activated is None else {"hash": activated, "ancestors": list(ancestors)}
        await self._ask({"leaves": {"update": {"activated": leaf, "deactivated": list(deactivated)}}})

    async def status(self, host: str | None = None) -> dict[str, Any]:
        """State of the fleet, with the workers of one machine or of all."""
        return await self._exchange(f"{self._fleet}.v4.status", "@coordinator", {"host": host})

    # From the submission to the verdict

    async def _request(
        self,
        code: bytes,
        work: Any,
        params: Sequence[Any],
        within: float,
        code_bomb_limit: int,
        held: Sequence[tuple[str, bytes, bytes]] = (),
    ) -> Verdict:
        request, code_name = _new_session(), wire.code_hash(code)
        submission = {
            "id": request.bytes,
            "speaks": {"min": wire.VERSION, "max": wire.VERSION},
            "code": code_name,
            "code_bomb_limit": code_bomb_limit,
            "executor_params": list(params),
            "prepare_timeout": None,
            "answer_within": wire.duration(within),
            "work": work,
        }
        everything = [("code", code_name, code), *held]
        verdict: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._verdicts[request] = verdict
        for kind, name, data in everything:
            self._hold(kind, name, data)
        try:
            # One more question than the coordinator's own deadline, which answers an expired request.
            async with asyncio.timeout(within + ASK_AGAIN):
                return _verdict(request, await self._until_verdict(request, submission, verdict))
        except (asyncio.CancelledError, TimeoutError):
            await asyncio.shield(self._cancel_quietly(request))
            raise
        finally:
            del self._verdicts[request]
            for kind, name, _ in everything:
                self._release(kind, name)

    async def _until_verdict(self, request: uuid.UUID, submission: Any, verdict: asyncio.Future[Any]) -> Any:
        accepted, pause = False, 0.1
        while not verdict.done():
            # A coordinator that takes over from now on knows nothing of the request.
            replaced = asyncio.ensure_future(self._replaced.wait())
            try:
                if not accepted:
                    await self._ask({"submit": submission}, verdict, replaced)
                    accepted = not replaced.done()
                    continue
                await asyncio.wait([verdict, replaced], timeout=ASK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
                if not verdict.done() and not replaced.done():
                    answer = await self._ask({"ask": {"requests": [request.bytes]}}, verdict, replaced)
                    accepted = answer is None or request.bytes not in answer["unknown"]
                accepted = accepted and not replaced.done()
            except Refused as refusal:
                if refusal.retry_after is None:
                    raise
                await asyncio.sleep(refusal.retry_after * random.uniform(1, 1.5))
            except (TimeoutError, nats.errors.Error):
                if not accepted:
                    await asyncio.wait([verdict, replaced], timeout=pause * random.uniform(1, 1.5),
                                       return_when=asyncio.FIRST_COMPLETED)
                    pause = min(pause * 2, 2)
            finally:
                replaced.cancel()
        return verdict.result()

    async def _ask(self, message: Any, *unless: asyncio.Future[Any]) -> Any:
        """One message to the coordinator and its answer; None if one of `unless` is done first."""
        asking = asyncio.ensure_future(self._exchange(f"{self._subject}.req", "@coordinator", message))
        await asyncio.wait([asking, *unless], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            return None
        answer = asking.result()
        if answer == "accepted":
            return None
        if isinstance(answer, dict) and "refused" in answer:
            raise Refused(*wire.variant(answer["refused"]))
        return answer

    # Coordinators

    def _obeys(self, frame: bytes) -> bool:
        """Whether a frame is of the coordinator with the highest token. One without a token is of an earlier version."""
        token = wire.token_of(frame)
        if token is None:
            return True
        self._token = max(self._token, token)
        return token == self._token

    async def _on_announcement(self, message: Msg) -> None:
        """Another coordinator is active. It is told the active leaves, then every request that waits."""
        token = wire.token_of(message.data)
        if token is None or not self._obeys(message.data) or token <= self._announced:
            return
        self._announced = token
        # Not in this callback, which would keep other messages waiting.
        self._repeating = asyncio.ensure_future(self._repeat())

    async def _repeat(self) -> None:
        await asyncio.sleep(random.uniform(0, 0.05))
        leaves = list(self._leaves.items())
        if len(leaves) > 1:
            # With each update all that is active must be wanted.
            everything = [leaf for leaf, _ in leaves[1:]] + [one for _, ancestors in leaves for one in ancestors]
            leaves = [(leaves[0][0], everything), *leaves[1:], leaves[0]]
        try:
            for leaf, ancestors in leaves:
                update = {"activated": {"hash": leaf, "ancestors": ancestors}, "deactivated": []}
                await self._ask({"leaves": {"update": update}})
        except (Refused, TimeoutError, nats.errors.Error):
            pass
        self._replaced.set()
        self._replaced = asyncio.Event()

    async def _exchange(self, subject: str, who: str, message: Any) -> Any:
        """One request and its answer, in an inbox that names who may answer."""
        self._next += 1
        reply = f"_INBOX.{self._user}.{who}.{self._connection}.{self._next}"
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[reply] = answer
        try:
            await self._bus.publish(subject, wire.encode(message), reply=reply)
            async with asyncio.timeout(ACKNOWLEDGE):
                received = await answer
        finally:
            del self._answers[reply]
        if received.headers and received.headers.get("Status") == "503":
            raise TimeoutError(f"nobody listens on {subject}")
        if not self._obeys(received.data):
            raise TimeoutError(f"the answer on {subject} is of a coordinator that was replaced")
        return wire.decode(received.data)

    async def _on_answer(self, message: Msg) -> None:
        waiting = self._answers.get(message.subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def _cancel_quietly(self, request: uuid.UUID) -> None:
        try:
            await self.cancel(request)
        except (Refused, TimeoutError, nats.errors.Error):
            pass

    async def _on_verdict(self, message: Msg) -> None:
        if not self._obeys(message.data):
            return
        name, verdict = wire.variant(wire.decode(message.data))
        if name != "verdict":
            return
        waiting = self._verdicts.get(uuid.UUID(bytes=verdict["request"]))
        if waiting is not None and not waiting.done():
            waiting.set_result(verdict)

    # Bytes

    def _hold(self, kind: str, name: bytes, data: bytes) -> None:
        _, users = self._held.get((kind, name), (data, 0))
        self._held[kind, name] = (data, users + 1)

    def _release(self, kind: str, name: bytes) -> None:
        data, users = self._held[kind, name]
        if users == 1:
            del self._held[kind, name]
        else:
            self._held[kind, name] = (data, users - 1)

    async def _on_pull(self, message: Msg) -> None:
        """A worker asks for a chunk of what this client holds."""
        if not message.reply.startswith("_INBOX."):
            return
        pull = wire.decode(message.data)
        data, _ = self._held.get(wire.variant(pull["content"]), (None, 0))
        if data is None:
            answer: Any = "missing"
        elif pull["offset"] >= len(data) > 0 or pull["offset"] > len(data):
            answer = {"out-of-range": {"total": len(data)}}
        else:
            most = min(pull["len"], wire.MAX_CHUNK, self._bus.max_payload - 128)
            chunk = data[pull["offset"] : pull["offset"] + most]
            answer = {"chunk": {"total": len(data), "bytes": chunk}}
        await self._bus.publish(message.reply, wire.encode(answer))

    async def _with_result(self, verdict: Verdict) -> Verdict:
        name, content = wire.variant(verdict.reason)
        if name == "held":
            assert verdict.worker is not None
            content = await self._pull(verdict.worker, content["hash"], content["len"])
        return Verdict(
            verdict.request, verdict.outcome, None, verdict.attempts, verdict.worker, verdict.raw,
            ValidationResult.decode(content),
        )

    async def _pull(self, worker: str, name: bytes, length: int) -> bytes:
        """Pulls a large result from the worker that holds it, several chunks at once."""
        if length > wire.MAX_PULLED:
            raise wire.ProtocolError(f"a result of {length} bytes is over the limit of {wire.MAX_PULLED}")
        subject, holder = f"{self._fleet}.v4.worker.{worker}.pull", worker.split(".")[1]
        data, turns = bytearray(length), asyncio.Semaphore(WINDOW)

        async def fetch(offset: int, end: int) -> None:
            while offset < end:
                pull = {"content": {"blob": name}, "offset": offset, "len": end - offset}
                async with turns:
                    kind, content = wire.variant(await self._exchange(subject, holder, pull))
                if kind != "chunk" or content["total"] != length or not content["bytes"]:
                    raise TimeoutError(f"the worker does not hold the result any more: {kind}")
                chunk = content["bytes"][: end - offset]
                data[offset : offset + len(chunk)] = chunk
                offset += len(chunk)

        await asyncio.gather(*(fetch(at, min(at + CHUNK, length)) for at in range(0, length, CHUNK)))
        if wire.blob_hash(bytes(data)) != name:
            raise TimeoutError("the result does not have the hash that the verdict names")
        return bytes(data)


def _verdict(request: uuid.UUID, verdict: Any) -> Verdict:
    outcome, reason = wire.variant(verdict["outcome"])
    return Verdict(request, outcome, reason, verdict["attempts"], verdict["worker"], verdict)
