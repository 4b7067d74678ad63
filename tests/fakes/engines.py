"""An engine for many prompts without a model: each request takes as many steps as its prompt says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from r1.engine.context import PromptTooLong
from r1.engine.events import (
    Answer,
    Drafted,
    Event,
    Finished,
    FinishReason,
    Prefill,
    Thinking,
    ThinkingEnd,
    Thought,
    Timings,
    Usage,
)
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.forms.form import Form
from r1.settings import Settings
from r1_quantize.errors import R1Error

TIMINGS = Timings(ttft_s=0.5, prefill_tps=10.0, decode_tps=20.0, total_s=1.0)


@dataclass(slots=True)
class FakeEngine:
    """Answers the prompt `3 text` in three steps with `TEXT`; `wide 3 text` needs a context of its own first.

    When it is to answer now, the next step is the last one. `settings` and `forms` are those of each request, and `log`
    says what was done in which order. `is_stopped` ends all replies at the next step.
    """

    sequences: int = 2
    context_length: int = 100
    is_stopped: bool = False
    fails_at: int = -1  # the number of the step that fails
    log: list[str] = field(default_factory=list)
    most_at_once: int = 0
    steps: int = 0
    settings: list[Settings] = field(default_factory=list)
    forms: list[Form | None] = field(default_factory=list)
    drafted: Drafted | None = None  # in each reply
    _prompts: dict[Request, str] = field(default_factory=dict)
    _left: dict[Request, int] = field(default_factory=dict)
    _is_wide: bool = False

    def request(
        self,
        prompt: str,
        *,
        settings: Settings | None,
        form: Form | None,
        answer_now: Callable[[], bool],
    ) -> Request:
        if prompt == "long":
            raise PromptTooLong(200, self.context_length, self.context_length)
        assert settings is not None
        self.settings.append(settings)
        self.forms.append(form)
        sampling = SamplingParams(seed=7 if settings.seed is None else settings.seed)
        made = Request(prompt=[], sampling=sampling, answer_now=answer_now)
        self._prompts[made] = prompt
        return made

    def has_room_for(self, request: Request) -> bool:
        return self._is_wide or not self._prompts[request].startswith("wide")

    def submit(self, request: Request) -> float:
        prompt = self._prompts[request]
        if not self.has_room_for(request):
            assert not self._left, "the context is made anew under the replies that use it"
            self._is_wide = True
        assert len(self._left) < self.sequences
        self.log.append(f"begin {prompt}")
        self._left[request] = int(prompt.removeprefix("wide ").split()[0])
        self.most_at_once = max(self.most_at_once, len(self._left))
        return 0.25

    def step(self) -> list[tuple[Request, Event]]:
        self.steps += 1
        if self.steps == self.fails_at:
            self._left.clear()
            raise R1Error("llama.cpp failed")
        happened: list[tuple[Request, Event]] = []
        for request in list(self._left):
            happened += [(request, event) for event in self._advance(request)]
        return happened

    def _advance(self, request: Request) -> list[Event]:
        prompt = self._prompts[request]
        if self.is_stopped:
            return self._end(request, "interrupted", [])
        self._left[request] -= 1
        if self._left[request] == 0 or request.answer_now():
            end: ThinkingEnd = "natural" if self._left[request] == 0 else "user"
            return self._end(request, "stop", [Thought(2, end), Answer(prompt.upper(), tokens=3)], end)
        return [Prefill(1, 1), Thinking("hm ", tokens=1)]

    def _end(
        self, request: Request, reason: FinishReason, events: list[Event], end: ThinkingEnd | None = None
    ) -> list[Event]:
        del self._left[request]
        self.log.append(f"end {self._prompts[request]}")
        return [*events, Finished(reason, Usage(4, 2, 3), TIMINGS, 1, end, self.drafted)]
