"""Clips, cameras on loopback, and stand-ins for Kafka and Redis."""

from __future__ import annotations

import asyncio
import base64
import io
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from producers.camera_stats import CameraStats
from producers.pacing import Pace, PlaySchedule
from producers.sources.source import Captured, OpenOptions, RawImage, Unreadable
from schemas.camera_state import CameraState
from schemas.errors import TransientError
from schemas.frame import Frame, decode_frame

TS_PACKET_BYTES = 188
TS_PACKETS_PER_RTP = 7
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"


def encode_video(
    target: Path | io.BytesIO, container: str, num_frames: int, fps: int, size: tuple[int, int]
) -> None:
    """Write frames whose grey level is 8 x their number (modulo 256)."""
    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", format=container) as output:
        stream = output.add_stream(
            "libx264", rate=fps, options={"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            pixels = np.full((size[1], size[0], 3), number * 8 % 256, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Make an MP4 file: `make_clip("a.mp4", num_frames=10, fps=10, size=(64, 48))`."""

    def make(name: str, num_frames: int = 10, fps: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
        path = tmp_path / name
        encode_video(path, "mp4", num_frames, fps, size)
        return path

    return make


@pytest.fixture(scope="session")
def make_stream() -> Callable[[int, tuple[int, int]], bytes]:
    """Make an MPEG transport stream of ten frames a second: `make_stream(10, (64, 48))`."""

    def make(num_frames: int, size: tuple[int, int]) -> bytes:
        buffer = io.BytesIO()
        encode_video(buffer, "mpegts", num_frames, 10, size)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def transport_stream() -> bytes:
    """20 frames of 64x48 as an MPEG transport stream."""
    buffer = io.BytesIO()
    encode_video(buffer, "mpegts", 20, 10, (64, 48))
    return buffer.getvalue()


@dataclass(slots=True)
class CameraScript:
    """What a loopback camera does in each session, in turn; the last one repeats."""

    sessions: list[str]
    """`play`: send everything, then end. `hang`: send everything, then nothing. `silent`: never answer."""
    stream: bytes
    password: str = ""
    started: list[str] = field(default_factory=list)
    finished: threading.Event = field(default_factory=threading.Event)

    def next_session(self) -> str:
        """Return what the next session does."""
        action = self.sessions[min(len(self.started), len(self.sessions) - 1)]
        self.started.append(action)
        return action


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    script: CameraScript


class _TcpCamera(socketserver.BaseRequestHandler):
    """Sends the transport stream over plain TCP."""

    server: _Server

    def handle(self) -> None:
        script = self.server.script
        action = script.next_session()
        try:
            if action != "silent":
                self.request.sendall(script.stream)
            if action != "play":
                script.finished.wait()
        except OSError:
            return


class _RtspCamera(socketserver.StreamRequestHandler):
    """A minimal RTSP 1.0 server: one MPEG-TS track inside the TCP connection (RFC 2326, RFC 2250)."""

    server: _Server

    def handle(self) -> None:
        self.script = self.server.script
        self.action = self.script.next_session()
        if self.action == "silent":
            self.script.finished.wait()
            return
        try:
            while (request := self._read_request()) is not None:
                if not self._answer(*request):
                    return
        except OSError:
            return

    def _read_request(self) -> tuple[str, dict[str, str]] | None:
        line = self.rfile.readline().decode()
        if not line:
            return None
        headers = {}
        while header := self.rfile.readline().decode().strip():
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        return line.split()[0], headers

    def _answer(self, method: str, headers: dict[str, str]) -> bool:
        wanted = "Basic " + base64.b64encode(f"admin:{self.script.password}".encode()).decode()
        if method != "OPTIONS" and self.script.password and headers.get("authorization") != wanted:
            self._reply("401 Unauthorized", headers, {"WWW-Authenticate": 'Basic realm="camera"'})
            return True
        match method:
            case "OPTIONS":
                self._reply("200 OK", headers, {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"})
            case "DESCRIBE":
                self._reply("200 OK", headers, {"Content-Type": "application/sdp"}, SDP)
            case "SETUP":
                transport = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
                self._reply("200 OK", headers, transport)
            case "PLAY":
                self._reply("200 OK", headers, {"Session": "1"})
                self._send_stream()
                if self.action == "hang":
                    self.script.finished.wait()
                return False
            case _:
                self._reply("200 OK", headers, {"Session": "1"})
                return False
        return True

    def _reply(self, status: str, asked: dict[str, str], headers: dict[str, str], body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {asked['cseq']}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _send_stream(self) -> None:
        step = TS_PACKET_BYTES * TS_PACKETS_PER_RTP
        for number, start in enumerate(range(0, len(self.script.stream), step)):
            payload = self.script.stream[start : start + step]
            rtp = struct.pack("!BBHII", 0x80, 33, number & 0xFFFF, number * 900, 4711) + payload
            self.wfile.write(struct.pack("!cBH", b"$", 0, len(rtp)) + rtp)


@pytest.fixture
def loopback_camera(transport_stream: bytes) -> Iterator[Callable[..., tuple[str, CameraScript]]]:
    """Start a camera: `loopback_camera("rtsp", ["play", "hang"], password="x")` -> (HOST:PORT, script)."""
    servers: list[_Server] = []

    def start(protocol: str, sessions: list[str], password: str = "") -> tuple[str, CameraScript]:
        handler = _RtspCamera if protocol == "rtsp" else _TcpCamera
        server = _Server(("127.0.0.1", 0), handler)
        server.script = CameraScript(sessions, transport_stream, password)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}", server.script

    yield start
    for server in servers:
        server.script.finished.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def quick() -> OpenOptions:
    """How tests open sources: short time limits, no pause ends early."""
    return OpenOptions(
        fps=None,
        open_timeout_s=2.0,
        read_timeout_s=1.0,
        max_pixels=10**7,
        own_time=False,
        rtsp_transport="tcp",
        verify_tls=False,
        pause=threading.Event().wait,
    )


class MemorySource:
    """Gives prepared pictures; `wait` blocks before the picture of that index until `go` is set."""

    def __init__(
        self,
        pictures: Sequence[Captured | Unreadable],
        *,
        pace: Pace | None = None,
        wait: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self._pace = pace
        self._pictures = pictures
        self._wait = wait
        self._error = error
        self.go = threading.Event()
        self.blocked = threading.Event()
        self.closed = threading.Event()

    def pace(self, fps: float | None) -> Pace:
        return self._pace or PlaySchedule(fps, may_drop=False)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        for index, picture in enumerate(self._pictures):
            if index == self._wait:
                self.blocked.set()
                self.go.wait()
            yield picture
        if self._wait == len(self._pictures):
            self.blocked.set()
            self.go.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def memory_source() -> type[MemorySource]:
    """The class of sources that give prepared pictures."""
    return MemorySource


@pytest.fixture
def pictures() -> Callable[[int], list[Captured]]:
    """Make that many 16x16 pictures whose truth is their number."""

    def make(count: int) -> list[Captured]:
        pixels = np.zeros((16, 16, 3), np.uint8)
        return [Captured(RawImage(pixels), truth=number) for number in range(count)]

    return make


class CameraCounts:
    """Stands in for a camera's metrics."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def published(self, num_bytes: int) -> None:
        self.events.append(f"published {num_bytes}")

    def dropped(self, cause: str) -> None:
        self.events.append(f"dropped {cause}")

    def connected(self, up: bool) -> None:
        self.events.append("connected" if up else "disconnected")

    def frozen(self, yes: bool) -> None:
        self.events.append("frozen" if yes else "moving")

    def reconnected(self) -> None:
        self.events.append("reconnected")

    def troubled(self, trouble: str) -> None:
        self.events.append(f"troubled {trouble}")


@pytest.fixture
def counts() -> CameraCounts:
    """A camera's metrics."""
    return CameraCounts()


@pytest.fixture
def stats(counts: CameraCounts) -> CameraStats:
    """A camera's stats that count into `counts`."""
    return CameraStats(counts)


class MemorySink:
    """Keeps frames; acknowledges at once unless `hold` is set. `fail` makes every send fail."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.keys: list[tuple[str, bytes | None, int | None]] = []
        self.hold = False
        self.fail: Exception | None = None
        self.held: list[asyncio.Future[object]] = []
        self.asked = asyncio.Event()
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    async def num_partitions(self, topic: str) -> int:
        return 48

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[object]:
        self.asked.set()
        await self.room.wait()
        self.frames.append(decode_frame(value, max_frame_bytes=10**7, max_frame_pixels=10**8))
        self.keys.append((topic, key, partition))
        self.arrived.set()
        delivery = asyncio.get_running_loop().create_future()
        if self.fail is not None:
            delivery.set_exception(self.fail)
        elif self.hold:
            self.held.append(delivery)
        else:
            delivery.set_result(None)
        return delivery

    def seqs(self, camera: str) -> list[int]:
        return [frame.seq for frame in self.frames if frame.camera == camera]


@pytest.fixture
async def sink() -> MemorySink:
    """Kafka's stand-in."""
    return MemorySink()


class MemoryStore:
    """Redis's stand-in: one lease a camera, without time. `away` makes every call fail."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.newest: dict[str, int] = {}
        self.told: dict[tuple[str, str], CameraState] = {}
        self.heard = asyncio.Event()
        self.away = False

    async def hold_camera(self, camera: str, owner: str) -> bool:
        self._answer()
        return self.owners.setdefault(camera, owner) == owner

    async def release_camera(self, camera: str, owner: str) -> None:
        self._answer()
        if self.owners.get(camera) == owner:
            del self.owners[camera]

    async def newest_seq(self, camera: str) -> int | None:
        self._answer()
        return self.newest.get(camera)

    async def publish_cameras(self, site: str, states: Sequence[CameraState]) -> None:
        self._answer()
        self.told |= {(site, state.camera): state for state in states}
        self.heard.set()

    async def forget_camera(self, site: str, camera: str) -> None:
        self._answer()
        self.told.pop((site, camera), None)

    async def time_ns(self) -> int:
        self._answer()
        return 0

    def _answer(self) -> None:
        if self.away:
            raise TransientError("Redis is away")


@pytest.fixture
def store() -> MemoryStore:
    """Redis's stand-in."""
    return MemoryStore()
