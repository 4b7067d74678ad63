"""The `r1` command, and `python -m r1`: the imports are inside, so that Ctrl-C during them is no traceback either."""

from __future__ import annotations

import sys


def main() -> None:
    """Ends the process with the status of what the command line asked for."""
    try:
        from r1.app import app, run_app

        status = run_app(app)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
