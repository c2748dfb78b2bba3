"""What a request holds, checked, and the plain answers to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from schemas.errors import SaccadeError

MAX_BODY_BYTES: Final = 64 * 1024
_MAX_DIGITS: Final = 20
"""Of a number; Python refuses to read one of thousands."""
_IMAGE_TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def refusal(status: int, text: str) -> JSONResponse:
    """One line that says what is wrong."""
    return JSONResponse({"error": text}, status)


def picture(image: bytes, encoding: str) -> Response:
    """An image that never changes at its address."""
    return Response(
        image, media_type=_IMAGE_TYPES[encoding], headers={"cache-control": "private, max-age=600"}
    )


def camera_of(request: Request) -> str:
    """The camera that the query names; raises `SaccadeError` where it names none."""
    camera = request.query_params.get("camera", "")
    if not camera:
        raise SaccadeError("camera: missing")
    return camera


def integer(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A number of a query or a body; raises `SaccadeError` that names it where it is none in [low, high]."""
    text = str(values.get(name, default))
    is_number = len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit()
    if not is_number or not low <= int(text) <= high:
        raise SaccadeError(f"{name}: {text!r:.40}, want an integer in [{low}, {high}]")
    return int(text)


async def json_of(request: Request) -> dict[str, Any]:
    """The body as an object; raises `SaccadeError` where it is none, or longer than `MAX_BODY_BYTES`."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise SaccadeError(f"the request has more than {MAX_BODY_BYTES} bytes")
    try:
        value = json.loads(body or b"{}")
        json.dumps(value, ensure_ascii=False).encode()  # half of a character is text that nothing can store
    except (ValueError, RecursionError):
        raise SaccadeError("the request is no JSON") from None
    if not isinstance(value, dict):
        raise SaccadeError("the request is no JSON object")
    return value
