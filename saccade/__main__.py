"""``python -m saccade`` and the command ``saccade``."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback, also while it is still being loaded."""
    # Ignored already (nohup, a background job of a script): it stays so.
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from saccade import cli

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
