"""`lamegan` from its first moment: Ctrl-C ends it with exit code 130 and no trace, also while modules are imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from service.commands import EXIT_INTERRUPTED


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT: end at once where a module is being imported, else raise KeyboardInterrupt as usual.

    A KeyboardInterrupt in an import is not reliable: the import system drops it in its callbacks, and extension
    modules turn it into an ImportError. Nothing that would have to be tidied up is under way then.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(EXIT_INTERRUPTED)
        frame = frame.f_back
    signal.default_int_handler(number, None)


def main() -> None:
    """Run `lamegan`."""
    signal.signal(signal.SIGINT, interrupt)
    try:
        from service.commands.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
