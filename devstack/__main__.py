"""The embedded stack alone, without the rest of the project.

`python -m devstack fetch` resolves the broker's jars. `python -m devstack up [--run-dir DIR]`
runs a stack on free ports until Ctrl-C and prints its two addresses as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from devstack.jars import broker_jars, java_command
from devstack.stack import embedded_stack
from schemas.errors import StackError


async def _up(run_dir: Path, data: Path | None, *, topics: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with embedded_stack(run_dir, data=data, topics=topics) as stack:
        addresses = {
            "bootstrap_servers": stack.bootstrap_servers,
            "redis_url": stack.redis_url,
            "kafka_pid": stack.kafka_pid,
            "redis_pid": stack.redis_pid,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """0, or 1 after one line of explanation."""
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    parser.add_argument("command", choices=["fetch", "up"])
    parser.add_argument("--run-dir", type=Path, default=Path("runs/embedded"))
    parser.add_argument("--data", type=Path, help="keep the content in this folder")
    parser.add_argument("--no-topics", action="store_true", help="do not create the pipeline's topics")
    arguments = parser.parse_args()
    try:
        if arguments.command == "fetch":
            broker_jars()
            java_command()
        else:
            asyncio.run(_up(arguments.run_dir, arguments.data, topics=not arguments.no_topics))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
