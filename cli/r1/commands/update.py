"""`r1 pull --update`: the models from the hub, each at its newest commit, and a line about each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from r1.commands.download import Download
from r1.console import Console
from r1.render.progress_line import Report
from r1_quantize.errors import ExitStatus, R1Error
from r1_quantize.events import Present, PullPlan
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repository import is_repo
from r1_quantize.hub.request import Request, request_from_manifest
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class Update:
    """Updates of models in the store. `states` maps what happened to the models that it happened to."""

    console: Console
    store: Store
    report: Report
    states: dict[str, list[str]] = field(
        default_factory=lambda: {state: [] for state in ("updated", "outdated", "up_to_date", "skipped", "failed")}
    )

    def all(self, options: PullOptions) -> ExitStatus:
        """Updates every model from the hub. A failure does not stop the others; the worst status is returned."""
        worst = ExitStatus.OK
        for model, manifest in _from_hub(self.store.models()):
            try:
                self._one(model, manifest, options)
            except R1Error as exc:
                self._failed(model.reference, exc)
                worst = max(worst, exc.exit_status)
        self._sum_up()
        return worst

    def _one(self, model: StoredModel, manifest: Manifest, options: PullOptions) -> None:
        request = request_from_manifest(model.name, model.quant or "", manifest, self.store.catalogue)
        if request is None:
            self._skipped(model.reference, "r1 quantize made it from a downloaded GGUF, which is not kept")
            return
        if manifest.imatrix_sha256:
            lost = "it was made with an importance matrix, which is not kept"
            self._skipped(model.reference, f"{lost}; update it with: r1 pull --update {model.reference} --imatrix FILE")
            return
        self.one(Download(self.console, self.store, request, self.report, force=True), options)  # it runs here already

    def one(self, download: Download, options: PullOptions) -> None:
        """Updates one model and says what happened. Raises as `r1_quantize.hub.pull`."""
        request = download.request
        before = _manifest_of(self.store, request)
        outcome = download.run(options)
        if isinstance(outcome.last, Present):
            self.states["up_to_date"].append(outcome.last.reference)
            return
        state = "outdated" if isinstance(outcome.last, PullPlan) else "updated"
        old = before.revision if before else None
        self.states[state].append(request.reference)
        if self.report == "json":
            commits = {"from_commit": old, "to_commit": outcome.commit}
            self.console.json({"event": state, "reference": request.reference, **commits}, one_line=True)
        elif state == "updated" and old and outcome.commit:
            self.console.note(f"{request.reference} is {_change(old, outcome.commit)}")

    def _skipped(self, reference: str, reason: str) -> None:
        self.states["skipped"].append(reference)
        self.console.warn(f"{reference} is skipped: {reason}")
        if self.report == "json":
            self.console.json({"event": "skipped", "reference": reference, "reason": reason}, one_line=True)

    def _failed(self, reference: str, exc: R1Error) -> None:
        self.states["failed"].append(reference)
        self.console.warn(f"{reference}: {exc}")
        if self.report == "json":
            facts = {"event": "failed", "reference": reference, "error": str(exc), "exit_code": int(exc.exit_status)}
            self.console.json(facts, one_line=True)

    def _sum_up(self) -> None:
        if self.report == "json":
            self.console.json({"event": "summary", **self.states}, one_line=True)
            return
        counts = [f"{len(names)} {state.replace('_', ' ')}" for state, names in self.states.items() if names]
        if not counts:
            self.console.note("nothing to update: no model here came from the hub")
        elif not any(names for state, names in self.states.items() if state != "up_to_date"):
            self.console.note(f"nothing to update: {', '.join(counts)}")
        else:
            self.console.note(", ".join(counts))


def _from_hub(models: Iterable[StoredModel]) -> Iterator[tuple[StoredModel, Manifest]]:
    """The models whose manifest names a repository on the hub."""
    for model in models:
        manifest = model.manifest
        if manifest is not None and manifest.revision is not None and is_repo(manifest.source):
            yield model, manifest


def _manifest_of(store: Store, request: Request) -> Manifest | None:
    model = store.stored(request.name, request.quant)
    return model.manifest if model else None


def _change(old: str, new: str) -> str:
    if old == new:
        return f"made again from commit {new[:12]}"
    return f"updated from commit {old[:12]} to {new[:12]}"
