"""Against GStreamer's RTSP server, from Debian's gir1.2-gst-rtsp-server-1.0 and its plugins."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import trustme

from producers.sources.registry import parse_source
from producers.sources.source import Captured, OpenOptions, RawImage
from producers.trouble import CameraError, Trouble

SYSTEM_PYTHON = Path("/usr/bin/python3")
SERVER = Path(__file__).parent / "gst_rtsp_server.py"
NEEDED = (
    "import gi; [gi.require_version(n, '1.0') for n in ('Gst', 'GstRtsp', 'GstRtspServer')]; "
    "from gi.repository import Gst; Gst.init(None); "
    "assert all(Gst.ElementFactory.find(n) for n in ('x264enc', 'rtph264pay', 'jpegenc', 'rtpjpegpay'))"
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[..., str]]:
    """Start a server: `bench("admin:secret")` -> HOST:PORT."""
    known = (
        SYSTEM_PYTHON.exists()
        and not subprocess.run(
            [SYSTEM_PYTHON, "-c", NEEDED], capture_output=True, timeout=60, check=False
        ).returncode
    )
    if not known:
        pytest.skip(
            "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*)"
        )
    servers: list[subprocess.Popen[str]] = []

    def start(*login: str) -> str:
        server = subprocess.Popen([SYSTEM_PYTHON, SERVER, *login], stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout is not None
        return f"127.0.0.1:{server.stdout.readline().strip()}"

    yield start
    for server in servers:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


@pytest.fixture(scope="module")
def place(bench: Callable[..., str]) -> str:
    """A server without a login."""
    return bench()


@pytest.fixture
def patient(quick: OpenOptions) -> OpenOptions:
    """A server on a busy machine needs some seconds for its first picture."""
    return replace(quick, open_timeout_s=15.0, read_timeout_s=8.0)


def pictures(url: str, options: OpenOptions, count: int = 8) -> list[Captured]:
    session = parse_source(url).open(options)
    found = [picture for picture in islice(session, count) if isinstance(picture, Captured)]
    session.close()
    return found


@pytest.mark.parametrize("path", ["h264", "jpeg", "both", "h264?transport=udp", "udp?transport=udp"])
def test_a_camera_gives_pictures_with_a_time(place: str, path: str, patient: OpenOptions) -> None:
    found = pictures(f"rtsp://{place}/{path}", patient)
    assert len(found) >= 6
    assert {image.image.pixels.shape for image in found if isinstance(image.image, RawImage)} == {
        (120, 160, 3)
    }
    times_s = [picture.time_s for picture in found if picture.time_s is not None]
    assert times_s == sorted(times_s)
    assert times_s[-1] > times_s[0]


@pytest.mark.parametrize(
    ("path", "trouble", "says"),
    [
        ("udp", Trouble.TRANSPORT, "add ?transport=udp"),
        ("sound", Trouble.NO_VIDEO, "no video stream"),
        ("nothing", Trouble.NOT_FOUND, "no such path"),
    ],
)
def test_what_is_wrong_has_a_name(
    place: str, path: str, trouble: Trouble, says: str, patient: OpenOptions
) -> None:
    with pytest.raises(CameraError) as error:
        pictures(f"rtsp://{place}/{path}", patient)
    assert (error.value.trouble, says in str(error.value)) == (trouble, True), str(error.value)


def test_the_setting_chooses_the_transport_too(place: str, patient: OpenOptions) -> None:
    assert len(pictures(f"rtsp://{place}/udp", replace(patient, rtsp_transport="udp"))) >= 6


def test_a_login_is_taken_or_refused_by_name(bench: Callable[..., str], patient: OpenOptions) -> None:
    place = bench("admin:s3cret/pw")
    assert len(pictures(f"rtsp://admin:s3cret%2Fpw@{place}/h264", patient)) >= 6
    for login in ("admin:hunter2@", ""):
        with pytest.raises(CameraError, match="refuses the login") as error:
            pictures(f"rtsp://{login}{place}/h264", patient)
        assert error.value.trouble is Trouble.LOGIN_REFUSED
        assert "hunter2" not in str(error.value)


def test_rtsps_is_spoken_with_a_camera_that_signed_its_own_certificate(
    bench: Callable[..., str], patient: OpenOptions, tmp_path: Path
) -> None:
    """Checked against the known authorities only where the setting says so."""
    tls = "from gi.repository import Gio; assert Gio.TlsBackend.get_default().supports_tls()"
    if subprocess.run([SYSTEM_PYTHON, "-c", tls], capture_output=True, check=False).returncode:
        pytest.skip("GLib's TLS is not installed (glib-networking)")
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "camera.pem"))
    place = bench(str(tmp_path / "camera.pem"))
    assert len(pictures(f"rtsps://{place}/h264", patient)) >= 6
    with pytest.raises(CameraError):
        pictures(f"rtsps://{place}/h264", replace(patient, verify_tls=True))
