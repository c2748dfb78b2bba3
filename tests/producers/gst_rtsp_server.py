"""A real RTSP server for the tests, run by the system's Python: GStreamer's, with one path a kind of camera.

Usage: gst_rtsp_server.py [USER:PASSWORD | CERTIFICATE.pem]; prints its port when it is ready. With a certificate
it speaks RTSPS.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOURCE = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1"
H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 config-interval=1"
SOUND = "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8"
PATHS = {
    "/h264": f"( {SOURCE} ! {H264} )",
    "/udp": f"( {SOURCE} ! {H264} )",
    "/jpeg": f"( {SOURCE} ! videoconvert ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 pt=26 )",
    "/sound": f"( {SOUND} )",
    "/both": f"( {SOUND} {SOURCE} ! {H264.replace('pay0', 'pay1')} )",
    "/ends": f"( {SOURCE.replace('is-live=true', 'is-live=true num-buffers=30')} ! {H264} )",
}


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    for path, launch in PATHS.items():
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(launch)
        factory.set_shared(True)
        if path == "/udp":
            factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
        if len(sys.argv) > 1:
            rights = GstRtspServer.RTSPPermissions.new()
            for right in ("access", "construct"):
                rights.add_permission_for_role("user", f"media.factory.{right}", True)
            factory.set_permissions(rights)
        server.get_mount_points().add_factory(path, factory)
    if len(sys.argv) > 1:
        auth, token = GstRtspServer.RTSPAuth.new(), GstRtspServer.RTSPToken.new()
        token.set_string("media.factory.role", "user")
        if sys.argv[1].endswith(".pem"):
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(sys.argv[1]))
            auth.set_default_token(token)
        else:
            user, password = sys.argv[1].split(":", 1)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


main()
