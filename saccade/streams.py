"""Standard streams as shells leave them: closed, full, or read by a program that ends early."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

_STREAMS: Final = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def open_closed_streams() -> None:
    """Streams that the shell has closed (`>&-`) lead nowhere, and no file or socket takes their numbers.

    What a terminal's encoding cannot show is written as an escape instead of ending the program.
    """
    for number, (name, flags, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, flags)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
        stream = getattr(sys, name)
        if mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish(stream: TextIO) -> OSError | None:
    """Write out what `stream` holds; where it takes no more, leave nothing in it and return why."""
    try:
        stream.flush()
    except OSError as error:
        # Python flushes once more at its end and would print a traceback of its own.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error
    return None
