from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.credentials import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/stream", "rtsp://host/stream"),
        ("rtsp://host:554/stream", "rtsp://host:554/stream"),
        ("rtsp://admin:hunter2@host:554/stream", "rtsp://***@host:554/stream"),
        ("rtsp://admin@host/stream", "rtsp://***@host/stream"),
        ("rtsp://admin:hun@ter/2@host/stream", "rtsp://***@host/stream"),
        ("http://host/video?user=admin&password=hunter2", "http://host/video?***"),
        ("http://host/video#hunter2", "http://host/video"),
        ("rtsp://host/user=admin_password=hunter2_channel=1", "rtsp://host/user=***"),
        ("rtsp://[::1]:554/s", "rtsp://[::1]:554/s"),
        ("rtsp://host:notaport/hunter2", "***"),
    ],
)
def test_shown_url_keeps_the_place_and_masks_what_may_be_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown


SECRET = st.text(alphabet="abcdefghijkXYZ0123456789!$%^*", min_size=3, max_size=20)


@given(user=SECRET, password=SECRET)
def test_neither_user_nor_password_survives_in_a_url(user: str, password: str) -> None:
    shown = shown_url(f"rtsp://{user}~:{password}~@camera/live")
    assert f"{user}~" not in shown
    assert f"{password}~" not in shown
