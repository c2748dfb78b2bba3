"""Names of sites and cameras: unique across sites, safe in Redis keys, metric labels and file names."""

from __future__ import annotations

import re

from schemas.errors import DecodeError
from schemas.limits import MAX_NAME_CHARS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
ALLOWED = f"1 to {MAX_NAME_CHARS} letters, digits, '.', '_' or '-', beginning with a letter or digit"


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name) is not None


def camera_id(site: str, name: str) -> str:
    """The camera's id everywhere: `name` without a site, else `site/name`.

    Raises:
        DecodeError: `bad_name` when either part is not a name.
    """
    camera = f"{site}/{name}" if site else name
    check_camera(site, camera)
    return camera


def site_of(camera: str) -> str:
    """The site that a camera's id names, empty where it names none."""
    site, slash, _ = camera.partition("/")
    return site if slash else ""


def named_camera(camera: str) -> str:
    """The id of whatever site it names, safe in addresses and topics; raises `DecodeError` `bad_name` for others."""
    check_camera(site_of(camera), camera)
    return camera


def check_site(site: str) -> None:
    """Returns when `site` is empty (no site) or a name, else `DecodeError` `bad_name`."""
    if f".{site}".endswith(".dead"):
        raise DecodeError("bad_name", f"site {site!r:.80}: the ending 'dead' names topics of dead letters")
    if site and not _is_name(site):
        raise DecodeError("bad_name", f"site {site!r:.80}: allowed are {ALLOWED}")


def check_camera(site: str, camera: str) -> None:
    """Returns when `camera` is an id that belongs to `site`, else `DecodeError` `bad_name`."""
    check_site(site)
    name = camera.removeprefix(f"{site}/") if site else camera
    if (site and name == camera) or not _is_name(name):
        shape = "SITE/NAME" if site else "NAME"
        raise DecodeError("bad_name", f"camera {camera!r:.80}: expected {shape}, each {ALLOWED}")
