"""What may be shown of a camera's address: never a user, a password or a token.

Every log line, metric label and error message about an address goes through `shown_url` or `hidden_before_at`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

MASK: Final = "***"
_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z][\w-]*)=(?P<value>[^&;/?#]*)")


def shown_url(url: str) -> str:
    """Return `url` with user, password, query, fragment and every `key=value` of its path masked.

    Cameras take passwords in all of these places (`/user=admin_password=x_channel=1`, `?token=x`), and people
    write passwords with unescaped `@` and `/`, so everything up to the last `@` goes. What is left is scheme,
    host, port and the plain part of the path; an address that is no URL at all becomes the mask.
    """
    scheme, _, rest = url.partition("://")
    _, at, place = rest.rpartition("@")
    try:
        parts = urlsplit(f"{scheme}://{place}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return MASK
    if ":" in host:
        host = f"[{host}]"
    location = f"{host}:{port}" if port is not None else host
    path = _ASSIGNMENT.sub(rf"\g<key>={MASK}", parts.path)
    hidden_user = f"{MASK}@" if at else ""
    return f"{scheme}://{hidden_user}{location}{path}{f'?{MASK}' if parts.query else ''}"


def hidden_before_at(text: str) -> str:
    """Return `text` with everything before its last `@` masked, as it may be a mistyped URL with a password."""
    return f"{MASK}@{text.rpartition('@')[2]}" if "@" in text else text
