"""A hub with the checkpoint of qwen-1.5b, and `r1 pull` in this process, with or without a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from r1.commands import pull
from r1.console import Console
from r1.render.progress_line import Report
from r1_quantize import catalog
from r1_quantize.errors import ExitStatus
from r1_quantize.hub import download
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.store.store import Store
from tests.fakes.consoles import console, written
from tests.fakes.hub import Hub, huggingface_client

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
LATER = "f" * 40  # another commit
PLAIN = PullOptions()


@dataclass
class Puller:
    """Runs `r1 pull` with a home of its own."""

    hub: Hub
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    status: ExitStatus | None = None  # of the last run
    console: Console = field(default_factory=console)  # of the last run

    @property
    def store(self) -> Store:
        return Store(self.folder / "own", catalog.load())

    @property
    def stdout(self) -> str:
        return written(self.console.stdout)

    @property
    def stderr(self) -> str:
        """What is on stderr, without escape codes and the moving line."""
        return written(self.console.stderr)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The objects on stdout."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def run(self, reference: str | None = None, options: PullOptions = PLAIN, **how: Any) -> ExitStatus:
        """One run. `report`, `prebuilt` and `terminal` say how."""
        report: Report = how.pop("report", "lines")
        terminal = how.pop("terminal", False)
        environ = {"HOME": str(self.folder), "R1_HOME": str(self.store.root), "HF_HUB_DISABLE_XET": "1"}
        environ |= {"HF_ENDPOINT": self.hub.endpoint, "COLUMNS": "80", **self.variables}
        self.console = console(b"", stderr_is_terminal=terminal, stdout_is_terminal=terminal, environ=environ)
        with huggingface_client(environ), patch.object(download, "_MAX_WAIT_S", 0.01):
            self.status = pull.run(self.console, reference, options, report, prebuilt=how.pop("prebuilt", False), **how)
        return self.status


@contextmanager
def puller(served: Path, folder: Path) -> Iterator[Puller]:
    """With a hub that serves the folder OWNER/NAME below `served`."""
    with Hub(served) as hub:
        yield Puller(hub, folder)
