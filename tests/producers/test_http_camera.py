"""Cameras over plain HTTP on loopback: pictures one by one, MJPEG, playlists, logins, and what is no camera."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import av
import numpy as np
import pytest
import trustme
from PIL import Image

from producers.camera_stats import CameraStats
from producers.capture import Capture
from producers.drop_queue import DropPolicy, DropQueue
from producers.pacing import Playback
from producers.sources.http_camera import Multipart
from producers.sources.registry import parse_source
from producers.sources.source import Captured, EncodedImage, OpenOptions, Session, Unreadable
from producers.trouble import CameraError, Trouble
from runtime.clock import SystemClock

USER, PASSWORD = "admin", "s3cret/pw@home"
LOGIN = "admin:s3cret%2Fpw%40home@"


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (level, level, level)).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = [jpeg(level) for level in range(0, 250, 25)]


@dataclass(slots=True)
class Camera:
    """Where a camera on loopback is, what was asked of it, and the files that it serves under /hls/."""

    place: str
    asked: Counter[str] = field(default_factory=Counter)
    files: dict[str, bytes] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """One request to the camera that the server holds."""

    camera: Camera

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.camera.asked[path] += 1
        answer = getattr(self, "get_" + path.strip("/").replace(".", "_").replace("/", "_"), None)
        if path.startswith("/hls/"):
            self.reply(200, "application/octet-stream", self.camera.files[path])
        elif answer is None:
            self.reply(404, "text/plain", b"")
        else:
            answer()

    def reply(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def get_snap_jpg(self) -> None:
        self.reply(200, "image/jpeg", PICTURES[self.camera.asked["/snap.jpg"] % len(PICTURES)])

    def get_untyped(self) -> None:
        self.reply(200, "application/octet-stream", PICTURES[1])

    def get_mjpeg(self) -> None:
        self.stream("frame", b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n", b"\r\n")

    def get_mjpeg_without_length(self) -> None:
        self.stream("--xyz", b"\r\n--xyz\r\nContent-Type: image/jpeg\r\n\r\n", b"")

    def get_mjpeg_then_silent(self) -> None:
        self.get_mjpeg()
        self.camera.closing.wait()

    def get_mjpeg_of_empty_parts(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
        self.end_headers()
        while not self.camera.closing.wait(0.02):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 0\r\n\r\n\r\n")

    def stream(self, boundary: str, before: bytes, after: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace;boundary={boundary}")
        self.end_headers()
        for picture in PICTURES:
            self.wfile.write((before % len(picture) if b"%d" in before else before) + picture + after)
        self.wfile.write(before.split(b"\r\nContent")[0] + b"--\r\n")

    def get_basic(self) -> None:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == wanted:
            self.get_snap_jpg()
        else:
            self.reply(401, "text/plain", b"", WWW_Authenticate='Basic realm="camera"')

    def get_digest(self) -> None:
        given = self.headers.get("Authorization", "")
        if f'response="{digest_answer(given)}"' in given:
            self.get_snap_jpg()
        else:
            self.reply(
                401, "text/plain", b"", WWW_Authenticate='Digest realm="camera", nonce="n1", qop="auth"'
            )

    def get_page(self) -> None:
        self.reply(200, "text/html", b"<html>please log in</html>")

    def get_playlist(self) -> None:
        self.reply(
            200, "application/vnd.apple.mpegurl", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/internal\n"
        )

    def get_hidden_playlist(self) -> None:
        self.reply(
            200, "video/mp2t", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/internal\n"
        )

    def get_near(self) -> None:
        self.reply(302, "text/plain", b"", Location="/snap.jpg")

    def get_far(self) -> None:
        self.reply(302, "text/plain", b"", Location="http://169.254.169.254/latest/meta-data")

    def get_busy(self) -> None:
        self.reply(503, "text/plain", b"")

    def get_empty(self) -> None:
        self.reply(200, "image/jpeg", b"")

    def get_silent(self) -> None:
        self.camera.closing.wait()

    def get_broken_jpg(self) -> None:
        good = self.camera.asked["/broken.jpg"] % 2
        self.reply(200, "image/jpeg", PICTURES[3] if good else PICTURES[3][:200])


def digest_answer(given: str) -> str:
    fields = dict(
        part.strip().split("=", 1) for part in given.removeprefix("Digest ").split(",") if "=" in part
    )
    fields = {name: value.strip('"') for name, value in fields.items()}
    if not {"nc", "cnonce", "uri"} <= fields.keys():
        return "none"

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    one, two = md5(f"{USER}:camera:{PASSWORD}"), md5(f"GET:{fields['uri']}")
    return md5(f"{one}:n1:{fields['nc']}:{fields['cnonce']}:auth:{two}")


@pytest.fixture
def camera() -> Iterator[Camera]:
    """A camera over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {}))
    server.daemon_threads, server.block_on_close = True, False
    found = Camera(f"127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass.camera = found  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.closing.set()
    server.shutdown()
    server.server_close()


def levels(session: Session, count: int) -> list[int]:
    found = []
    for picture in islice(session, count):
        assert isinstance(picture, Captured)
        assert isinstance(picture.image, EncodedImage)
        found.append(PICTURES.index(picture.image.data))
    return found


def test_one_picture_a_request_is_asked_for_at_the_wanted_rate(camera: Camera, quick: OpenOptions) -> None:
    session = parse_source(f"http://{camera.place}/snap.jpg").open(replace(quick, fps=20.0))
    began_s = time.monotonic()
    found = levels(session, 5)
    assert 0.2 <= time.monotonic() - began_s < 1.5
    assert found == [(found[0] + number) % len(PICTURES) for number in range(5)]
    session.close()


def test_waiting_for_the_next_request_ends_with_the_session(camera: Camera, quick: OpenOptions) -> None:
    ending = threading.Event()
    session = parse_source(f"http://{camera.place}/snap.jpg").open(
        replace(quick, fps=0.01, pause=ending.wait)
    )
    pictures = iter(session)
    assert isinstance(next(pictures), Captured)
    threading.Timer(0.05, ending.set).start()
    assert next(pictures, None) is None


def test_pictures_are_known_by_their_bytes_where_nothing_says_so(camera: Camera, quick: OpenOptions) -> None:
    assert levels(parse_source(f"http://{camera.place}/untyped").open(quick), 2) == [1, 1]


@pytest.mark.parametrize("path", ["mjpeg", "mjpeg_without_length"])
def test_mjpeg_gives_every_picture_byte_for_byte_until_it_ends(
    camera: Camera, path: str, quick: OpenOptions
) -> None:
    session = parse_source(f"http://{camera.place}/{path}").open(quick)
    assert levels(session, 99) == list(range(len(PICTURES)))
    session.close()


@pytest.mark.parametrize("path", ["basic", "digest"])
def test_both_kinds_of_login_are_spoken(camera: Camera, path: str, quick: OpenOptions) -> None:
    assert len(levels(parse_source(f"http://{LOGIN}{camera.place}/{path}").open(quick), 2)) == 2


def test_a_redirect_within_the_host_is_followed(camera: Camera, quick: OpenOptions) -> None:
    assert len(levels(parse_source(f"http://{camera.place}/near").open(quick), 1)) == 1


@pytest.mark.parametrize(
    ("address", "trouble", "says"),
    [
        ("{place}/basic", Trouble.LOGIN_REFUSED, "refuses the login"),
        ("admin:hunter2@{place}/basic", Trouble.LOGIN_REFUSED, "refuses the login"),
        ("admin:hunter2@{place}/digest", Trouble.LOGIN_REFUSED, "refuses the login"),
        ("{place}/nothing", Trouble.NOT_FOUND, "answers 404 Not Found"),
        ("{place}/busy", Trouble.OTHER, "answers 503 Service Unavailable"),
        (
            "{place}/page",
            Trouble.NO_VIDEO,
            "answers with text (text/html), no pictures; perhaps a login page",
        ),
        ("{place}/playlist", Trouble.NO_VIDEO, "the URL of one must end in .m3u8"),
        ("{place}/hidden_playlist", Trouble.UNREADABLE, "no video that can be read"),
        ("{place}/far", Trouble.OTHER, "leads to another host, '169.254.169.254'"),
        ("{place}/silent", Trouble.NO_ANSWER, "no answer within 1 s"),
        ("no.such.host.invalid/a", Trouble.HOST_UNKNOWN, "no address for the host 'no.such.host.invalid'"),
        ("127.0.0.1:{closed}/a", Trouble.UNREACHABLE, "refused"),
    ],
)
def test_what_is_wrong_is_named_without_the_password(
    camera: Camera, closed_port: int, address: str, trouble: Trouble, says: str, quick: OpenOptions
) -> None:
    source = parse_source("http://" + address.format(place=camera.place, closed=closed_port))
    with pytest.raises(CameraError) as error:
        source.open(quick)
    assert error.value.trouble is trouble
    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_a_port_without_tls_is_named(camera: Camera, scheme: str, quick: OpenOptions) -> None:
    with pytest.raises(CameraError, match="it speaks no TLS") as error:
        parse_source(f"{scheme}://{camera.place}/snap.jpg").open(quick)
    assert error.value.trouble is Trouble.TLS


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_a_certificate_is_looked_at_only_where_that_was_asked_for(scheme: str, quick: OpenOptions) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {}))
    server.daemon_threads, server.block_on_close = True, False
    place = f"127.0.0.1:{server.server_address[1]}"
    server.RequestHandlerClass.camera = Camera(place)  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    source = parse_source(f"{scheme}://{place}/snap.jpg")
    with pytest.raises(CameraError, match="its certificate is not trusted") as error:
        source.open(replace(quick, verify_tls=True))
    assert error.value.trouble is Trouble.TLS
    if scheme == "https":
        assert len(levels(source.open(quick), 1)) == 1
    server.shutdown()
    server.server_close()


def test_an_empty_answer_is_named(camera: Camera, quick: OpenOptions) -> None:
    (picture,) = islice(parse_source(f"http://{camera.place}/empty").open(quick), 1)
    assert isinstance(picture, Unreadable)
    assert picture.why.endswith("it is empty")


def test_a_stream_that_falls_silent_is_frozen(camera: Camera, quick: OpenOptions) -> None:
    session = parse_source(f"http://{camera.place}/mjpeg_then_silent").open(quick)
    with pytest.raises(CameraError, match="no picture for 1 s") as error:
        list(session)
    assert error.value.trouble is Trouble.FROZEN
    session.close()


async def test_a_stream_of_empty_parts_is_frozen_and_its_thread_ends(
    camera: Camera, quick: OpenOptions, stats: CameraStats
) -> None:
    source = parse_source(f"http://{camera.place}/mjpeg_of_empty_parts")
    capture = Capture(
        "cam",
        lambda pause: source.open(replace(quick, pause=pause)),
        queue=DropQueue(1, DropPolicy.OLDEST),
        fps=None,
        stats=stats,
        clock=SystemClock(),
        stall_s=0.5,
    )
    async with asyncio.timeout(10):
        with pytest.raises(CameraError, match="no sign of life") as error:
            await capture.next()
    assert error.value.trouble is Trouble.FROZEN
    assert await capture.close(5)


def test_a_damaged_picture_is_one_picture(camera: Camera, quick: OpenOptions) -> None:
    pictures = list(islice(parse_source(f"http://{camera.place}/broken.jpg").open(quick), 6))
    assert [type(picture) for picture in pictures] == [Unreadable, Captured] * 3


def segment(first: int, count: int) -> bytes:
    """Frames of ten a second in a transport stream, from the `first` on."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=10, options={"tune": "zerolatency", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(first, first + count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 8, np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def test_a_playlist_comes_in_bursts_and_is_played_by_its_own_time(camera: Camera, quick: OpenOptions) -> None:
    camera.files = {f"/hls/{number}.ts": segment(10 * number, 10) for number in range(2)}
    entries = "".join(f"#EXTINF:1.0,\n{number}.ts\n" for number in range(2))
    camera.files["/hls/live.m3u8"] = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{entries}#EXT-X-ENDLIST\n".encode()
    session = parse_source(f"http://{camera.place}/hls/live.m3u8").open(quick)
    pace = session.pace(5)
    assert isinstance(pace, Playback)
    moments = [pace.place(picture.time_s, 100.0) for picture in session if isinstance(picture, Captured)]
    kept = [moment for moment in moments if isinstance(moment, float)]
    assert np.diff(kept) == pytest.approx([0.2] * 9, abs=0.01)
    session.close()


@pytest.mark.parametrize("step", [1, 7, 100, 10**6])
@pytest.mark.parametrize("lines", [b"\r\n", b"\n"])
@pytest.mark.parametrize("with_length", [True, False])
def test_bodies_are_cut_however_the_bytes_arrive(step: int, lines: bytes, with_length: bool) -> None:
    length = b"content-length: %d" + lines if with_length else b"X-Time: 1" + lines
    whole = b"".join(
        b"--b" + lines + (length % len(body) if with_length else length) + lines + body + lines
        for body in PICTURES
    )
    parts = Multipart('"b"')
    data = whole + b"--b--"
    found = [body for start in range(0, len(data), step) for body in parts.feed(data[start : start + step])]
    assert found == PICTURES


def test_a_picture_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.sources.http_camera.MAX_PICTURE_BYTES", 1000)
    parts = Multipart("b")
    with pytest.raises(CameraError, match="more than 1000 bytes"):
        list(parts.feed(b"--b\r\n\r\n" + bytes(2000)))
