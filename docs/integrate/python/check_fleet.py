"""Runs a list of requests against a fleet and compares its verdicts with what is expected.

    python check_fleet.py CASES.json --nats nats://127.0.0.1:4222 [--user NAME --password-file FILE]

CASES.json is a list of objects: `name`, `code` (file), `work` (precheck, heads-up, heads-up-prepared, execute),
`parent_head` (hex), `block_data` (file), `kind`, `expect` (names of the outcomes that are right, with | between them), `head_data` (hex, for valid ones).
Prints a line for each and exits with 1 if one differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import sys
from typing import Any

from pvf_client import PvfClient
from pvf_wire import Candidate, Verdict


async def run(client: PvfClient, case: dict[str, Any]) -> Verdict:
    code = pathlib.Path(case["code"]).read_bytes()
    match case["work"]:
        case "precheck":
            return await client.precheck(code)
        case "heads-up":
            return await client.heads_up(code)
        case "heads-up-prepared":
            return await client.heads_up(code, wait_prepared=True)
    candidate = Candidate(
        parent_head=bytes.fromhex(case["parent_head"]),
        block_data=pathlib.Path(case["block_data"]).read_bytes(),
        relay_parent_number=7,
        relay_parent_storage_root=bytes([1] * 32),
    )
    return await client.execute(code, candidate, kind=case.get("kind", "backing"), within=120)


def difference(case: dict[str, Any], verdict: Verdict) -> str | None:
    if verdict.outcome not in case["expect"].split("|"):
        return f"{verdict.outcome} ({verdict.reason}) instead of {case['expect']}"
    if "head_data" in case:
        assert verdict.result is not None
        head = verdict.result.head_data
        if head.hex() != case["head_data"]:
            return f"head data of {len(head)} bytes differs"
    return None


async def cancel_one(client: PvfClient, case: dict[str, Any]) -> bool:
    """A request that its caller gives up is cancelled, and the fleet ends it."""
    task = asyncio.ensure_future(run(client, case))
    while (await client.status())["requests"] == 0:
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(60):
        while (await client.status())["requests"] != 0:
            await asyncio.sleep(0.05)
    return task.cancelled()


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--user")
    parser.add_argument("--password-file")
    arguments = parser.parse_args()
    password = pathlib.Path(arguments.password_file).read_text().strip() if arguments.password_file else None
    cases = json.loads(pathlib.Path(arguments.cases).read_text())
    client = await PvfClient.connect(arguments.nats, user=arguments.user, password=password)
    failed = 0
    # All at once, so that the client has several requests, and two for the same candidate.
    verdicts = await asyncio.gather(*(run(client, case) for case in cases if case["expect"] != "cancelled"))
    for case, verdict in zip([case for case in cases if case["expect"] != "cancelled"], verdicts):
        wrong = difference(case, verdict)
        failed += wrong is not None
        print(f"{case['name']}: {wrong or verdict.outcome}")
    for case in cases:
        if case["expect"] == "cancelled":
            cancelled = await cancel_one(client, case)
            failed += not cancelled
            print(f"{case['name']}: {'cancelled' if cancelled else 'not cancelled'}")
    await client.active_leaves(activated=bytes([7] * 32), deactivated=[bytes([6] * 32)])
    status = await client.status()
    print(f"fleet: {len(status['workers'])} workers, {status['executed']} executions")
    await client.close()
    print(f"{len(cases) - failed} of {len(cases)} as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
