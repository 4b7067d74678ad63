"""What the next batch holds of the requests that run."""

from __future__ import annotations

from collections.abc import Sequence as Row

from r1.engine.context import Context, Part
from r1.engine.generation import Generation
from r1.engine.sequence import Chunks

_LEAST_SHARE = 4  # at least one row in so many is for prompts, however many replies are in the batch


def prompt_rows(running: Row[Generation], waiting: int, context: Context) -> int:
    """Rows of the batch for what is to be prefilled, while so many requests wait.

    A single prompt does not keep the replies beside it waiting for a whole batch.
    """
    generating = sum(not each.to_prefill for each in running)
    prompts = len(running) - generating + waiting
    rows = context.rows.beside if generating and prompts < 2 else context.rows.several
    return max(rows - generating, rows // _LEAST_SHARE)


def has_rows_left(running: Row[Generation], waiting: int, context: Context) -> bool:
    """Whether those that run leave rows for another prompt."""
    return sum(each.to_prefill for each in running) < prompt_rows(running, waiting, context)


def on_its_way(running: Row[Generation], prompt: Chunks) -> int:
    """How many tokens of a prompt will be held once those are prefilled that begin like it; 0 without one."""
    return max((prompt.common_prompt(each.chunks) for each in running if each.token is None), default=0)


def batch_parts(running: Row[Generation], waiting: int, context: Context) -> list[tuple[Generation, Part]]:
    """What the batch decodes of each request, the oldest first; nothing of a prompt for which no rows are left."""
    if len(running) == 1 and running[0].to_prefill:
        return [(running[0], running[0].next_chunk())]
    parts = []
    rows = prompt_rows(running, waiting, context)
    for generation in running:
        if not generation.to_prefill:
            parts.append((generation, generation.next_token()))
        elif rows:
            part = generation.next_piece(rows)
            parts.append((generation, part))
            rows -= len(part.tokens)
    return parts
