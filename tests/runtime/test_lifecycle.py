"""A process's life: a signal asks, a deadline insists, and the exit status tells which."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from runtime.lifecycle import StoppedEarly, cut_short_by, run_until_stopped
from schemas.errors import SettingsError, TransientError


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_source_that_ends_by_itself_is_a_success() -> None:
    async def main(stop: asyncio.Event) -> None:
        assert not stop.is_set()

    assert await run_until_stopped(main, drain_s=5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_main_to_stop(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()

    assert await run_until_stopped(main, drain_s=5) == 0


async def test_a_signal_while_starting_ends_at_once_with_status_0() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        async with cut_short_by(stop):
            await never()

    assert await run_until_stopped(main, drain_s=3_600) == 0


async def test_what_ends_before_the_stop_is_left_alone_and_keeps_its_own_errors() -> None:
    stop = asyncio.Event()
    async with cut_short_by(stop):
        pass
    with pytest.raises(TimeoutError):
        async with cut_short_by(stop):
            raise TimeoutError
    stop.set()
    with pytest.raises(StoppedEarly):
        async with cut_short_by(stop):
            await never()


async def test_main_is_cut_off_after_the_drain_time() -> None:
    cleaned = asyncio.Event()

    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await never()
        finally:
            cleaned.set()

    assert await run_until_stopped(main, drain_s=0.01) == 1
    assert cleaned.is_set()


async def test_a_second_signal_cuts_main_off_at_once() -> None:
    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await never()

    assert await run_until_stopped(main, drain_s=3_600) == 1


async def test_a_third_signal_is_left_to_kill_the_process() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await never()
        finally:
            after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
            assert after == [signal.SIG_DFL, signal.SIG_DFL]

    try:
        assert await run_until_stopped(main, drain_s=3_600) == 1
    finally:
        for each, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(each, handler)


async def test_a_task_that_missed_its_cancellation_is_named_and_does_not_keep_the_process() -> None:
    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await never()
        await never()

    async def main(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(deaf(), name="deaf")
            os.kill(os.getpid(), signal.SIGTERM)

    with capture_logs() as logs:
        assert await run_until_stopped(main, drain_s=0.01, cut_off_s=0.05) == 1
    (told,) = [each for each in logs if each.get("task") == "deaf"]
    assert "deaf:" in told["at"]
    assert "never:" in told["at"]


async def test_expected_errors_are_one_line_each_and_status_1() -> None:
    async def main(stop: asyncio.Event) -> None:
        raise ExceptionGroup("stages", [TransientError("broker is gone"), SettingsError("tau = -1")])

    with capture_logs() as logs:
        assert await run_until_stopped(main, drain_s=5) == 1
    assert [(each["event"], each["log_level"]) for each in logs] == [
        ("broker is gone", "error"),
        ("tau = -1", "error"),
    ]


async def test_a_bug_keeps_its_traceback() -> None:
    async def main(stop: asyncio.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await run_until_stopped(main, drain_s=5)
    assert caught.group_contains(ZeroDivisionError)


async def test_a_timeout_of_mains_own_is_a_bug_not_the_drain_deadline() -> None:
    async def main(stop: asyncio.Event) -> None:
        raise TimeoutError

    with pytest.raises(ExceptionGroup):
        await run_until_stopped(main, drain_s=5)


async def test_an_outer_cancel_ends_main_and_gives_the_signals_back() -> None:
    entered = asyncio.Event()

    async def main(stop: asyncio.Event) -> None:
        entered.set()
        await never()

    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.create_task(run_until_stopped(main, drain_s=5))
    await entered.wait()
    assert signal.getsignal(signal.SIGTERM) is not before
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert signal.getsignal(signal.SIGTERM) is before
    assert asyncio.all_tasks() == {asyncio.current_task()}
