"""The page's addresses: static files, live events, pictures, reasons, frames to label, dead letters, sessions.

Everything but the sign-in form and its files needs a session; everything that changes something needs the role
`change` and the session's token against forged requests.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from page.access import Login, Sessions, is_loopback, may_change
from page.feed import Feed, PageStore, SiteEvents
from page.frames import FrameWindow
from page.harvest import Harvest
from page.requests import MAX_BODY_BYTES, camera_of, integer, json_of, picture, refusal
from page.teaching import Teaching
from runtime.clock import Clock
from schemas.errors import DecodeError, SaccadeError, TransientError
from schemas.frame import Frame
from schemas.label import Label
from schemas.trace import Trace

STATIC: Final = Path(__file__).parent / "static"
COOKIE: Final = "saccade"
CSRF_HEADER: Final = "x-csrf-token"
MAX_CAMERAS_A_VIEW: Final = 256
_OPEN_PATHS: Final = ("/static/", "/login", "/api/login", "/api/session")
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Letters(Protocol):
    """Dead letters as the page needs them."""

    async def list(self, limit: int) -> list[dict[str, Any]]:
        """The newest letters."""
        ...

    async def replay(self, topic: str | None, reason: str | None) -> int:
        """Sent again; how many."""
        ...


class Guard:
    """Middleware: security headers on every answer, no answer without a session, none forged.

    The session lies in `scope["session"]` afterwards.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, clock: Clock) -> None:
        self._app = app
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        session = self._sessions.of(request.cookies.get(COOKIE), self._clock.monotonic_s())
        scope["session"] = session
        answer = self._refusal(request, session)
        secured = _secured(send)
        await (answer or self._app)(scope, receive, secured)

    def _refusal(self, request: Request, session: Login | None) -> Response | None:
        path: str = request.scope["path"]  # what the routes see; `url` is also made of the Host header
        if not self._sessions.need_login and not is_loopback(request.url.hostname or ""):
            # Another site's name that points to this machine would let that site read the page.
            return refusal(403, "open the page by 127.0.0.1 or localhost")
        is_open = any(path == each or (each.endswith("/") and path.startswith(each)) for each in _OPEN_PATHS)
        if session is None and not is_open:
            if path.startswith("/api/"):
                return refusal(401, "sign in first")
            return RedirectResponse("/login", 303)
        if request.method in ("GET", "HEAD") or path == "/api/login":
            return None
        return _change_refusal(request, session)


def _change_refusal(request: Request, session: Login | None) -> Response | None:
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        return refusal(413, f"the request has more than {MAX_BODY_BYTES} bytes")
    if session is None or not may_change(session, request.headers.get(CSRF_HEADER)):
        return refusal(403, "this needs the role 'change', from this page")
    return None


def _secured(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message["headers"],
                *((name.encode(), value.encode()) for name, value in _HEADERS.items()),
            ]
        await send(message)

    return with_headers


class Page:
    """The handlers and what they answer from."""

    def __init__(
        self,
        *,
        site: str,
        store: PageStore,
        events: SiteEvents,
        feed: Feed,
        window: FrameWindow,
        letters: Letters,
        harvest: Harvest | None,
        sessions: Sessions,
        clock: Clock,
        is_https: bool,
    ) -> None:
        self._site = site
        self._store = store
        self._events = events
        self._feed = feed
        self._window = window
        self._letters = letters
        self._harvest = harvest
        self._sessions = sessions
        self._clock = clock
        self._is_https = is_https

    def app(self) -> ASGIApp:
        """The application, guarded."""
        routes = [
            Route("/", _index),
            Route("/login", _index),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/api/session", self.session),
            Route("/api/login", self.login, methods=["POST"]),
            Route("/api/logout", self.logout, methods=["POST"]),
            Route("/api/cameras", self.cameras),
            Route("/api/live", self.live),
            Route("/api/labels", self.labels),
            Route("/api/thumbnails", self.thumbnails),
            Route("/api/frame", self.frame),
            Route("/api/why", self.why),
            Route("/api/events", self.events),
            Route("/api/uplink", self.uplink),
            Route("/api/letters", self.letters),
            Route("/api/letters/replay", self.replay, methods=["POST"]),
            *Teaching(self._harvest, self._store).routes(),
        ]
        app = Starlette(
            routes=routes,
            exception_handlers={TransientError: _unavailable, DecodeError: _undecodable, SaccadeError: _bad},
        )
        return Guard(app, self._sessions, self._clock)

    async def session(self, request: Request) -> Response:
        """Who is signed in, and the token for changes."""
        session: Login | None = request.scope["session"]
        if session is None:
            return JSONResponse({"signed_in": False, "site": ""})
        return JSONResponse(
            {
                "signed_in": True,
                "need_login": self._sessions.need_login,
                "user": session.user,
                "role": session.role.value,
                "csrf": session.csrf,
                "site": self._site,
                "keeps": self._harvest is not None,
            }
        )

    async def login(self, request: Request) -> Response:
        """A session cookie for a right name and password; 429 after five wrong ones a minute."""
        address = request.client.host if request.client else ""
        body = await json_of(request)
        tried_s = self._clock.monotonic_s()
        wait_s = self._sessions.wait_s(address, tried_s)
        if wait_s > 0:
            answer = refusal(429, f"too many wrong tries: wait {wait_s:.0f} s")
            answer.headers["retry-after"] = str(int(wait_s) + 1)
            return answer
        self._sessions.note_try(address, tried_s)
        name, password = str(body.get("user", "")), str(body.get("password", ""))
        user = await asyncio.to_thread(self._sessions.user_of, name, password)
        if user is None:
            return refusal(401, "wrong name or password")
        token = self._sessions.sign_in(user, address, tried_s, self._clock.monotonic_s())
        response = JSONResponse({"signed_in": True})
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=self._is_https, path="/")
        return response

    async def logout(self, request: Request) -> Response:
        """The session is over."""
        self._sessions.sign_out(request.cookies.get(COOKIE) or "")
        response = JSONResponse({"signed_in": False})
        response.delete_cookie(COOKIE, path="/")
        return response

    async def cameras(self, _: Request) -> Response:
        """Every camera that has a label or whose producer tells, with its newest label and its state."""
        states = self._feed.states
        names = sorted({*await self._store.cameras(), *states})
        labels = await self._feed.newest(names)
        return JSONResponse(
            {
                "now_ns": self._clock.time_ns(),
                "cameras": [
                    {
                        "camera": name,
                        "label": labels[name].to_json() if name in labels else None,
                        "state": states.get(name),
                    }
                    for name in names
                ],
            }
        )

    async def live(self, request: Request) -> Response:
        """Server-sent events of the cameras in view: `labels` and `cameras` by camera, and `site`."""
        if self._feed.is_full:
            return refusal(503, "too many open pages: close one, or raise page.max_viewers")
        cameras = _cameras_of(request)

        async def stream() -> AsyncIterator[str]:
            viewer = self._feed.join(cameras)
            self._window.want(viewer, cameras)
            try:
                async for message in viewer.messages():
                    yield message
            finally:
                self._window.want(viewer, ())
                self._feed.leave(viewer)

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def labels(self, request: Request) -> Response:
        """The last label changes of one camera, newest first."""
        count = integer(request.query_params, "count", 100, 1, 1_000)
        labels = await self._store.recent(camera_of(request), count)
        return JSONResponse([label.to_json() for label in labels])

    async def thumbnails(self, request: Request) -> Response:
        """The newest frames of cameras in view as small JPEGs, by camera; left out while there is none that decodes."""
        pictures = {}
        for camera in _cameras_of(request):
            frame = self._window.newest(camera)
            if frame is not None:
                with suppress(DecodeError):  # its label says so
                    small = await self._window.thumbnail(frame)
                    pictures[camera] = {"seq": frame.seq, "jpeg": b64encode(small).decode()}
        return JSONResponse(pictures)

    async def frame(self, request: Request) -> Response:
        """The newest frame in view or with a label, or the one of `seq`, as the producer encoded it."""
        camera = camera_of(request)
        if "seq" in request.query_params:
            seq = integer(request.query_params, "seq", 0, 0, 2**63 - 1)
            frame = await self._find(await self._store.get(camera, seq))
        else:
            frame = self._window.newest(camera)
            if frame is None:
                frame = await self._find(*await self._store.latest_many([camera]))
        if frame is None:
            return refusal(404, "this frame is not held any more: `frames` keeps a quarter of an hour")
        answer = picture(frame.image, frame.encoding)
        answer.headers["x-seq"] = str(frame.seq)
        return answer

    async def why(self, request: Request) -> Response:
        """Everything that is known of one frame: its label and the way that led to it.

        `frame` is None once `frames` has dropped it, `trace` where the workers keep no traces.
        """
        camera, seq = camera_of(request), integer(request.query_params, "seq", 0, 0, 2**63 - 1)
        label = await self._store.get(camera, seq)
        if label is None:
            return refusal(404, "this frame has no label: not published, not yet labelled, or expired")
        trace = await self._store.trace(camera, seq)
        frame = await self._window.find(camera, seq, label.captured_ns)
        size = None if frame is None else {"width": frame.width, "height": frame.height}
        way = None if trace == Trace() else trace.to_json(label)
        return JSONResponse({"label": label.to_json(), "frame": size, "trace": way})

    async def events(self, request: Request) -> Response:
        """The site's last events, newest first; of one camera where it is named."""
        count = integer(request.query_params, "count", 100, 1, 1_000)
        camera = request.query_params.get("camera")
        found = await self._events.recent(self._site, count)
        return JSONResponse([asdict(each) for each in found if camera in (None, each.camera)])

    async def uplink(self, _: Request) -> Response:
        """The uplink's last quarter of an hour, and the workers and servers of now."""
        return JSONResponse({"history": list(self._feed.history), **self._feed.site_state})

    async def letters(self, request: Request) -> Response:
        """The newest dead letters with their reasons."""
        count = integer(request.query_params, "count", 100, 1, 1_000)
        return JSONResponse(await self._letters.list(count))

    async def replay(self, request: Request) -> Response:
        """Dead letters of one topic or reason, or all, are sent again."""
        body = await json_of(request)
        topic, reason = body.get("topic"), body.get("reason")
        sent = await self._letters.replay(
            None if topic is None else str(topic), None if reason is None else str(reason)
        )
        return JSONResponse({"replayed": sent})

    async def _find(self, label: Label | None) -> Frame | None:
        return None if label is None else await self._window.find(label.camera, label.seq, label.captured_ns)


def _cameras_of(request: Request) -> list[str]:
    return [name for name in request.query_params.getlist("camera") if name][:MAX_CAMERAS_A_VIEW]


async def _index(_: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-store"})


async def _unavailable(_: Request, error: Exception) -> Response:
    return refusal(503, str(error))


async def _undecodable(_: Request, error: Exception) -> Response:
    return refusal(422, str(error))


async def _bad(_: Request, error: Exception) -> Response:
    return refusal(400, str(error))
