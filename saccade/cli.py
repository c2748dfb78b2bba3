"""The command ``saccade``: puts the groups of commands together and turns errors into one line."""

from __future__ import annotations

import sys

import typer

from runtime.log import configure_logging
from runtime.settings import LogSettings
from saccade.commands import (
    config,
    dead_letters,
    demo,
    events,
    export,
    labels,
    measure,
    page,
    stack,
    topics,
    trace,
    train,
    workers,
)
from schemas.errors import SaccadeError, SettingsError

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
"""Parts of Saccade that an image of one role may lack."""
EXTRAS = frozenset({"torch", "timm", "torchvision", "openvino", "onnxruntime", "matplotlib", "av"})
"""Libraries that an image of one role may lack."""
EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    name="saccade",
    help="Classify camera streams over Kafka: a small vision transformer answers every frame, "
    "a large one behind the uplink answers the uncertain ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (demo, stack, workers, labels, trace, events, page, measure, train, export):
    group.register(app)
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(config.app, name="config")


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong usage or wrong settings."""
    # On stderr and without progress, until a worker takes its own log settings.
    configure_logging(LogSettings(level="warning"))
    try:
        app(args=arguments, prog_name="saccade")
    except* SaccadeError as group:
        error = first_leaf(group)
        fail(error, EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED)
    except* ModuleNotFoundError as group:
        missing = first_leaf(group)
        top = (getattr(missing, "name", None) or "").partition(".")[0]
        if top not in ROOMS and top not in EXTRAS:
            raise
        fail(missing_part(top), EXIT_FAILED)


def fail(error: BaseException, status: int) -> None:
    """Print the error as one line on standard error and exit with ``status``."""
    typer.echo(f"saccade: {error}", err=True)
    sys.exit(status)


def missing_part(top: str) -> SaccadeError:
    """The error for a command whose room or library this installation lacks."""
    kind = "room" if top in ROOMS else "library"
    return SaccadeError(
        f"this installation lacks the {kind} {top!r} that the command needs; "
        "run it where the whole package is installed"
    )


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error inside nested groups: what a task group hides from a person."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
