"""The `r1` command and `python -m r1`. It imports inside `main`, so that Ctrl-C in the meantime prints no traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and exits with its status."""
    try:
        from r1.app import app
        from r1.exit import run_app

        status = run_app(app)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
