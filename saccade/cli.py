"""The command ``saccade``: puts the groups of commands together and turns errors into one line."""

from __future__ import annotations

import errno
import re
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from runtime.log import configure_logging
from runtime.redact import redact
from runtime.settings import LogSettings
from saccade import VERSION
from saccade.commands import (
    config,
    dead_letters,
    demo,
    events,
    export,
    harvest,
    labels,
    measure,
    models,
    page,
    research,
    stack,
    topics,
    trace,
    train,
    workers,
)
from saccade.parts import missing
from saccade.streams import finish, open_closed_streams
from schemas.errors import SaccadeError, SettingsError, leaves

UsageError: Any = typer.BadParameter.__base__
"""Of the click that typer uses: its own copy or the library, by version."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_PASSWORD = re.compile(r"://[^/\s]*:[^\s]+@|(?i:password)=")

app = typer.Typer(
    name="saccade",
    help="Classify camera streams over Kafka: a small vision transformer answers every frame, "
    "a large one behind the uplink answers the uncertain ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (demo, stack, workers, labels, trace, events, page, measure, train, export, research):
    group.register(app)
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(harvest.app, name="harvest")
app.add_typer(config.app, name="config")
app.add_typer(models.app, name="models")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"saccade {VERSION}")
        raise typer.Exit


@app.callback()
def _saccade(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong usage or wrong settings, 130 interrupted.

    An error that a user can do something about is one line on standard error; any other keeps its traceback.
    """
    open_closed_streams()
    # On stderr and without progress, until a worker takes its own log settings.
    configure_logging(LogSettings(level="warning"))
    if any(_PASSWORD.search(each) for each in (sys.argv[1:] if arguments is None else arguments)):
        tell(
            "warning: every user of this machine can read a password on the command line; give it by a "
            "settings file, the environment, or the path of a file that holds it (NAME_file)"
        )
    try:
        status = app(args=arguments, prog_name="saccade", standalone_mode=False) or 0
    except SystemExit as ended:
        status = ended.code
    except BaseException as error:
        ends = [end_of(leaf) for leaf in leaves(error)]
        if not all(ends):
            raise
        status, line = ends[0] or (EXIT_FAILED, "")
        if line:
            tell(line)
    unwritten = finish(sys.stdout)
    if unwritten is not None and not isinstance(unwritten, BrokenPipeError):
        tell(f"standard output: {unwritten.strerror}")
    finish(sys.stderr)
    sys.exit(status if unwritten is None else EXIT_FAILED)


def end_of(error: BaseException) -> tuple[int, str] | None:
    """The exit status and the line that an error comes to; None for a bug."""
    end: tuple[int, str] | None
    match error:
        case KeyboardInterrupt() | typer.Abort():
            end = EXIT_INTERRUPTED, ""
        case SettingsError():
            end = EXIT_USAGE, str(error)
        case SaccadeError():
            end = EXIT_FAILED, str(error)
        case ModuleNotFoundError() if (part := missing(error)) is not None:
            end = EXIT_FAILED, str(part)
        case _ if isinstance(error, UsageError):
            end = EXIT_USAGE, usage_line(error)
        case BrokenPipeError():  # the reader of a pipe has what it wanted
            end = EXIT_FAILED, ""
        case OSError() if error.filename is not None:
            end = EXIT_FAILED, f"{error.filename}: {error.strerror}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EFBIG):
            end = EXIT_FAILED, f"cannot write: {error.strerror}"
        case _:
            end = None
    return end


def usage_line(error: Any) -> str:
    """What a wrong command line comes to; a group without a command prints its help instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return ""
    command = error.ctx.command_path if error.ctx is not None else "saccade"
    return f"{error.format_message().rstrip('.')}; {command} --help says more"


def tell(text: str) -> None:
    """Print one line on standard error, without credentials; a closed or full one is no reason to stop."""
    with suppress(OSError):
        typer.echo(f"saccade: {redact(' '.join(text.split()))}", err=True)


if __name__ == "__main__":
    main()
