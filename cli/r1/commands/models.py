"""Finds the models that the settings name: the one that answers, and the one that drafts for it."""

from __future__ import annotations

from typing import NamedTuple

from r1.console import Console
from r1.fit.planner import DraftFile
from r1.library import find_model
from r1.settings import Settings
from r1_quantize.errors import R1Error
from r1_quantize.store.model import StoredModel


class Models(NamedTuple):
    """What is to be loaded; without a draft model, `draft` is None."""

    answering: StoredModel
    draft: DraftFile | None


def find_models(console: Console, settings: Settings) -> Models:
    """Raises as `find_model`."""
    return Models(find_model(console, settings.model), find_draft(console, settings))


def find_draft(console: Console, settings: Settings, *, is_required: bool = True) -> DraftFile | None:
    """None if the settings name none. `is_required` is as in `DraftFile`. Raises as `find_model`."""
    if settings.draft is None:
        return None
    try:
        model = find_model(console, settings.draft)
    except R1Error as exc:  # a line about one of two models says which
        which = settings.draft_from or "the draft model cannot be used: "
        raise type(exc)(f"{which}{exc}") from exc
    return DraftFile(model.path, model.reference, is_required, settings.draft_from)
