"""One session with a source: a thread that reads and paces, and the bounded queue to the event loop.

A thread that hangs in a driver or in name resolution cannot be ended; it is left behind (it is a daemon, and
its session is closed to it), and the camera goes on with a new one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from producers.camera_stats import CameraStats, Cause, is_landmark
from producers.drop_queue import DropQueue, Offer
from producers.pacing import Pace, Skip
from producers.sources.source import Captured, RawImage, Session, Unreadable
from producers.standstill import Standstill
from producers.trouble import CameraError, Trouble
from runtime.clock import Clock
from runtime.log import get_logger
from runtime.redact import redact
from schemas.errors import SourceError

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A picture and when it was captured (ns, UTC)."""

    captured: Captured
    captured_ns: int

    @property
    def num_bytes(self) -> int:
        """What the picture holds in memory: its pixels, or a file's bytes as they are."""
        image = self.captured.image
        return image.pixels.nbytes if isinstance(image, RawImage) else len(image.data)


SourceOpener = Callable[[Callable[[float], bool]], Session]
"""Opens the source, given `OpenOptions.pause`."""


class Capture:
    """Reads one source in a thread of its own; `next` gives its pictures to the event loop.

    `_lock` guards `_queue`, `_ended`, `_error`, `_closing` and `_waiting`; everything else is set once.
    """

    def __init__(
        self,
        name: str,
        open_source: SourceOpener,
        *,
        queue: DropQueue[TimedImage],
        fps: float | None,
        stats: CameraStats,
        clock: Clock,
        stall_s: float | None,
        standstill: Standstill | None = None,
        loop_source: bool = False,
    ) -> None:
        """Start the thread. Called on the event loop.

        Args:
            name: the camera's id.
            open_source: opens the source; called in the thread with `OpenOptions.pause`.
            queue: empty, with the camera's drop policy.
            fps: the rate that was asked for, None for every picture.
            stats, clock: count what is dropped here, stamp the rest.
            stall_s: without a sign of life for so long `next` gives the source up; None waits for ever.
            standstill: watches whether the pictures repeat, over all sessions of the camera; None does not ask.
            loop_source: open the source again at its end.
        """
        self._name = name
        self._open_source = open_source
        self._fps = fps
        self._stats = stats
        self._clock = clock
        self._stall_s = stall_s
        self._standstill = standstill
        self._loop_source = loop_source
        self._lock = threading.Condition()
        self._queue = queue
        self._error: SourceError | None = None
        self._ended = self._waiting = False
        self._closing = threading.Event()
        self._alive_s = clock.monotonic_s()
        self._loop = asyncio.get_running_loop()
        self._ready, self._done = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture-{name}", daemon=True)
        self._thread.start()

    async def next(self) -> TimedImage | None:
        """Return the next picture, or None at the source's end. Cancelled, it has taken nothing.

        Raises:
            SourceError: the source could not be opened, was lost, or gave no sign of life for `stall_s`.
        """
        if self._stall_s is None:
            return await self._take()
        while True:
            patience_s = self._alive_s + self._stall_s - self._clock.monotonic_s()
            if patience_s <= 0 and not len(self._queue):
                raise CameraError(Trouble.FROZEN, f"{self._name}: no sign of life for {self._stall_s:g} s")
            try:
                async with asyncio.timeout(max(patience_s, 0.0)):
                    return await self._take()
            except TimeoutError:
                continue  # the thread may have read pictures that the pace left out

    async def close(self, wait_s: float) -> bool:
        """End the session and return whether its thread ended within `wait_s`; it hands over nothing more."""
        with self._lock:
            self._closing.set()
            self._queue.clear()
            self._lock.notify_all()
        try:
            async with asyncio.timeout(wait_s):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether the thread still runs, perhaps hanging."""
        return self._thread.is_alive()

    async def _take(self) -> TimedImage | None:
        while True:
            with self._lock:
                item = self._queue.take()
                if item is not None:
                    self._lock.notify_all()
                    return item
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._ready.clear()
                self._waiting = True
            await self._ready.wait()

    def _run(self) -> None:
        error: SourceError | None = None
        try:
            self._read_source()
        except SourceError as lost:
            error = lost
        except Exception as bug:  # noqa: BLE001 - whatever a driver raises costs its own camera only
            error = SourceError(f"{self._name}: {type(bug).__name__}: {redact(str(bug))}")
        with self._lock:
            self._error = error
            self._ended = True
            self._wake()
        self._call(self._done.set)

    def _read_source(self) -> None:
        pace: Pace | None = None
        while True:
            session = self._open_source(self._pause)
            pictures = 0
            try:
                pace = pace or session.pace(self._fps)
                for picture in session:
                    pictures += 1
                    self._alive_s = self._clock.monotonic_s()
                    if self._closing.is_set() or not self._deliver(picture, pace):
                        return
            finally:
                session.close()
            if not pictures and not self._closing.is_set():
                raise CameraError(Trouble.NO_VIDEO, f"{self._name}: the source has no pictures")
            if not self._loop_source or self._closing.is_set():
                return

    def _pause(self, seconds: float) -> bool:
        """Wait and return whether the session is to end; a source that waits on purpose is alive."""
        if seconds > 0:  # 0 only asks: a camera may trickle bytes for ever without a picture
            self._alive_s = self._clock.monotonic_s() + seconds
        return self._closing.wait(seconds)

    def _deliver(self, picture: Captured | Unreadable, pace: Pace) -> bool:
        """Hand the picture over when it is due, or count it; return False once the session is closed."""
        if isinstance(picture, Unreadable):
            why = redact(picture.why)
            if is_landmark(count := self._stats.unreadable(why)):
                _log.warning("unreadable pictures", camera=self._name, count=count, why=why)
            return True
        now_s = self._clock.monotonic_s()
        moment = pace.place(picture.time_s, now_s)
        if moment is Skip.THINNED:
            self._stats.thinned()
            return not self._closing.is_set()
        if isinstance(moment, Skip):
            self._stats.dropped(Cause.LATE)
            return not self._closing.is_set()
        if moment > now_s:
            # A source that rests until its next picture is due, such as a time-lapse, is alive.
            self._alive_s = moment
            if self._closing.wait(moment - now_s):
                return False
        ago_ns = max(0, round((self._clock.monotonic_s() - moment) * 1e9))
        self._watch(picture)
        captured_ns = picture.taken_ns if picture.taken_ns is not None else self._clock.time_ns() - ago_ns
        return self._offer(TimedImage(picture, captured_ns))

    def _watch(self, picture: Captured) -> None:
        if self._standstill is None:
            return
        frozen = self._standstill.see(picture.image, self._clock.monotonic_s())
        why = f"{self._name}: the same picture for {self._standstill.after_s:g} s"
        if self._stats.frozen(frozen, why):
            _log.warning("camera is frozen" if frozen else "camera moves again", camera=self._name)

    def _offer(self, item: TimedImage) -> bool:
        with self._lock:
            while not self._closing.is_set():
                waiting = len(self._queue)
                if self._queue.offer(item) is not Offer.FULL:
                    break
                self._lock.wait()
            else:
                return False
            # A large picture may take the room of several small ones.
            num_lost = waiting + 1 - len(self._queue)
            self._wake()
        for _ in range(num_lost):
            self._stats.dropped(Cause.QUEUE_FULL)
        return True

    def _wake(self) -> None:
        if self._waiting:
            self._waiting = False
            self._call(self._ready.set)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The event loop is closed: this thread outlived its program's main part, nobody waits for it.
            self._closing.set()
