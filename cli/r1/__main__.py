"""The `r1` command and `python -m r1`. It imports inside `main`, so that Ctrl-C in the meantime prints no traceback."""

from __future__ import annotations

import gc
import os
import sys

_GC_THRESHOLD = 100_000  # new objects; with the default of 700, collecting takes 7 ms of a start, with 50,000 still 10


def main() -> None:
    """Runs the command line and ends the process with its status."""
    _end(run_line())


def run_line() -> int:
    """Runs the command line; returns its status."""
    gc.set_threshold(_GC_THRESHOLD)
    try:
        from r1.streams import adopt

        adopt()
        from r1.preload import preload

        if sys.stdout is not None:  # without one, nothing is asked
            preload(sys.argv[1:], os.environ)
        from r1.app import app
        from r1.dispatch import app_for
        from r1.exit import run_app

        return run_app(app_for(app, sys.argv[1:]))
    except KeyboardInterrupt:
        return 130


def _end(status: int) -> None:
    """Ends the process as it is: the system takes it apart in a fraction of the time that Python takes, and a thread
    that is still loading a model cannot be ended otherwise.
    """
    import atexit
    import threading
    from contextlib import suppress

    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
