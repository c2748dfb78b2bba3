"""The device thread: one call at a time, off the loop, joined at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref

import pytest

from runtime.device_thread import DeviceThread


async def test_calls_run_in_order_on_one_other_thread() -> None:
    async with DeviceThread("model") as device, asyncio.TaskGroup() as group:
        names = [group.create_task(device.submit(threading.current_thread)) for _ in range(3)]
    threads = {task.result() for task in names}
    assert len(threads) == 1
    thread = threads.pop()
    assert thread is not threading.current_thread()
    assert thread.name.startswith("model")
    assert not thread.is_alive()


async def test_the_loop_goes_on_while_a_call_runs() -> None:
    release = threading.Event()
    async with DeviceThread("model") as device:
        running = asyncio.create_task(device.submit(release.wait, 5))
        await asyncio.sleep(0)
        assert not running.done()
        release.set()
        assert await running


async def test_an_error_reaches_the_caller() -> None:
    async with DeviceThread("model") as device:
        with pytest.raises(ValueError, match="invalid literal"):
            await device.submit(int, "x")


async def test_a_cancelled_caller_drops_the_result_and_the_exit_waits_for_the_call() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        release.wait(5)
        ended.set()

    async with DeviceThread("model") as device:
        running = asyncio.create_task(device.submit(call))
        await asyncio.to_thread(started.wait, 5)
        waiting = asyncio.create_task(device.submit(ended.clear))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.wait([running, waiting])
        assert running.cancelled()
        release.set()
    assert ended.is_set()


async def test_after_the_end_nothing_is_taken() -> None:
    async with DeviceThread("model") as device:
        pass
    with pytest.raises(RuntimeError):
        await device.submit(int)


async def test_a_call_that_does_not_end_is_left_behind() -> None:
    release, began = threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        release.wait(60)

    async with asyncio.timeout(30):
        async with DeviceThread("model", exit_limit_s=0.05) as device:
            running = asyncio.create_task(device.submit(call))
            await asyncio.to_thread(began.wait, 5)
            later = asyncio.create_task(device.submit(int))
            await asyncio.sleep(0)
        await asyncio.wait([later])
    assert later.cancelled()
    release.set()
    await running


_HANGS = """
import asyncio, threading
from runtime.device_thread import DeviceThread

async def main():
    began = threading.Event()

    def hang():
        began.set()
        threading.Event().wait()

    async with DeviceThread("model", exit_limit_s=0.05) as device:
        running = asyncio.create_task(device.submit(hang))
        await asyncio.to_thread(began.wait)
        running.cancel()

asyncio.run(main())
"""


def test_a_call_that_does_not_end_does_not_keep_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", _HANGS], timeout=60, check=False)
    assert ended.returncode == 0


async def test_what_a_call_was_given_is_let_go_when_it_has_ended() -> None:
    class Model:
        pass

    model = Model()
    gone = weakref.ref(model)
    async with DeviceThread("model") as device:
        await device.submit(id, model)
        del model
        async with asyncio.timeout(10):
            while gone() is not None:  # noqa: ASYNC110 - the thread tells nobody
                await asyncio.sleep(0.001)
