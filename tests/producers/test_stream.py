"""How network streams are written."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sources.http_camera import HttpCamera
from producers.sources.registry import parse_source
from producers.sources.source import OpenOptions
from producers.sources.stream import StreamUrl, ffmpeg_options, names_playlist, parse
from schemas.errors import SettingsError


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("sign", list("@/?#[]% "))
@pytest.mark.parametrize("place", ["host/stream", "host:8554/stream?channel=1", "[::1]:554/s", "10.0.0.1"])
def test_a_raw_sign_in_a_password_is_told_without_showing_the_password(
    scheme: str, sign: str, place: str
) -> None:
    with pytest.raises(SettingsError, match="percent-encode it") as error:
        parse_source(f"{scheme}://admin:hunter{sign}secret@{place}")
    for part in ("admin", "hunter", "secret"):
        assert part not in str(error.value)


@given(password=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1))
def test_an_encoded_password_is_taken_whatever_it_holds(password: str) -> None:
    url = f"rtsp://admin:{quote(password, safe='')}@host:554/stream?channel=1"
    assert parse(url) == StreamUrl(url, "rtsp://***@host:554/stream?***")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://host/user@2x",
        "rtsp://host:554/a?mail=me@home.org",
        "rtsp://u:p@host/a?mail=me@home.org",
        "rtsp://[fe80::1]/s",
        "http://host/a;b=1?x=[1]",
        "rtsp://u:p!$&'()*+,;=~@host/s",
    ],
)
def test_signs_that_mislead_nobody_are_taken(url: str) -> None:
    parse(url)


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        (" rtsp://h/s\n", "rtsp://h/s"),
        ('"rtsp://h/s"', "rtsp://h/s"),
        ("“rtsp://h/s”", "rtsp://h/s"),
        ("<rtsp://h/s>", "rtsp://h/s"),
        ("\ufeffrtsp://h/s\u200b", "rtsp://h/s"),
        ("RTSP://H/S", "rtsp://H/S"),
        ("rtsp://h/a stream", "rtsp://h/a%20stream"),
        ("rtsp://u:p@h/über?x=a b", "rtsp://u:p@h/%C3%BCber?x=a%20b"),
        ("rtsp://übung.example:554/s", "rtsp://xn--bung-zra.example:554/s"),
        ("rtsp://[fe80::1%25eth0]:554/s", "rtsp://[fe80::1%25eth0]:554/s"),
        ("http://h/a%20b", "http://h/a%20b"),
        ("HTTP://h/snap.jpg?user=a&pwd=b c", "http://h/snap.jpg?user=a&pwd=b%20c"),
    ],
)
def test_an_address_is_taken_as_it_is_pasted(pasted: str, meant: str) -> None:
    source = parse_source(pasted)
    assert isinstance(source, StreamUrl | HttpCamera)
    assert source.url == meant


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rtsp://::1/s", "no valid host and port; an IPv6 address stands in brackets: rtsp://[::1]/…"),
        ("rtsp://fe80::1:554/s", "an IPv6 address stands in brackets"),
        ("rtsp://ho st/s", "rtsp://…: this URL has no valid host and port"),
        ("rtsp://host:abc/s", "no valid host and port"),
        ("rtsp://host:65536/s", "no valid host and port"),
        ("http://user:hunter2@/x", "no valid host and port"),
        ("rtsp://admin:hunter2", "no valid host and port"),
        ("rtsp://ü..example/s", "no host can have this name"),
    ],
)
def test_an_address_without_a_sound_host_is_told_without_a_password(url: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_source(url)
    assert told in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "kept", "transport"),
    [
        ("rtsp://h/s?transport=udp", "rtsp://h/s", "udp"),
        ("rtsp://h/s?a=1&transport=multicast&b=2", "rtsp://h/s?a=1&b=2", "multicast"),
        ("rtsps://h/s?transport=tcp", "rtsps://h/s", "tcp"),
        ("rtsp://h/s?transport=UDP", "rtsp://h/s", "udp"),
        ("rtsp://h/s?transport=RTP", "rtsp://h/s?transport=RTP", ""),
        ("tcp://h:1/s?transport=udp", "tcp://h:1/s?transport=udp", ""),
    ],
)
def test_the_transport_is_ours_and_does_not_reach_the_camera(url: str, kept: str, transport: str) -> None:
    source = parse(url)
    assert (source.url, source.transport) == (kept, transport)


def test_ffmpeg_hears_of_transport_time_limit_and_certificates(quick: OpenOptions) -> None:
    assert ffmpeg_options("rtsp://h/s", "multicast", quick)["rtsp_transport"] == "udp_multicast"
    assert ffmpeg_options("rtsp://h/s", "tcp", quick)["timeout"] == "1000000"
    assert "rtsp_transport" not in ffmpeg_options("tcp://h:1", "tcp", quick)
    assert ffmpeg_options("rtsps://h/s", "tcp", replace(quick, verify_tls=True))["tls_verify"] == "1"


def test_only_a_url_that_ends_like_a_playlist_may_be_one() -> None:
    assert names_playlist("http://h/live/index.m3u8?token=1")
    assert names_playlist("https://h/live.MPD")
    assert not names_playlist("http://h/live?file=x.m3u8")
    assert not names_playlist("rtsp://h/live.m3u8")
