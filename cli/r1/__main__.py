"""The `r1` command and `python -m r1`. It imports inside `main`, so that Ctrl-C in the meantime prints no traceback."""

from __future__ import annotations

import gc
import sys

_GC_THRESHOLD = 50_000  # new objects; with the default of 700, collecting takes 7 ms of a start


def main() -> None:
    """Runs the command line and exits with its status."""
    gc.set_threshold(_GC_THRESHOLD)
    try:
        from r1.streams import adopt

        adopt()
        from r1.app import app
        from r1.exit import run_app

        status = run_app(app)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
