"""Encodes questions as token ids, exactly as `r1` prompts the model, and marks the part to be learned.

The program writes `BOS <｜User｜> question <｜Assistant｜> <think>\\n`; the model writes the working,
`\\n</think>\\n\\n`, the answer and EOS. Earlier turns keep only question and answer, as in DeepSeek's template.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from scripts.tiny.questions import Question, question
from scripts.tiny.schedule import Stage

CUT_SHARE = 0.04
"""The share of examples whose thinking is cut short."""
MAX_TOKENS = 2000
"""A longer conversation loses its oldest turns."""


@dataclass(frozen=True, slots=True)
class Example:
    ids: list[int]
    learn_from: int
    """The index of the first token that is learned; everything before it is the prompt."""


class Dialogue:
    """Encodes text with tokenizer.json; control tokens are inserted by id only."""

    def __init__(self, tokenizer_json: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer_json))
        vocabulary = self.tokenizer.get_vocab()
        self.bos, self.eos, self.user, self.assistant, self.think, self.end_think = (
            vocabulary[token]
            for token in (
                "<｜begin▁of▁sentence｜>",
                "<｜end▁of▁sentence｜>",
                "<｜User｜>",
                "<｜Assistant｜>",
                "<think>",
                "</think>",
            )
        )

    def text(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, question: Question) -> list[int]:
        return [self.user, *self.text(question.text), self.assistant]

    def example(self, last: Question, earlier: list[Question] | None = None, cut: float | None = None) -> Example:
        """`cut` (0 to 1) truncates the working to that share, so that only the answer is learned."""
        ids = [self.bos]
        for turn in earlier or []:
            ids += [*self.prompt(turn), *self.text(turn.answer), self.eos]
        ids += [*self.prompt(last), self.think, *self.text("\n")]
        learn_from = len(ids)
        working = self.text(last.working + "\n")
        if cut is not None:
            working = [*working[: int(cut * len(working))], *self.text("\n")]
        ids += [*working, self.end_think, *self.text("\n\n")]
        if cut is not None:
            learn_from = len(ids)
        return Example([*ids, *self.text(last.answer), self.eos], learn_from)

    def random_example(self, rng: random.Random, stage: Stage) -> Example:
        """Usually a single question; sometimes a later turn of a conversation, or thinking that was cut short."""

        def draw() -> Question:
            (task,) = rng.choices(list(stage.mix), list(stage.mix.values()))
            return question(rng, task, "train", stage.longest_word)

        roll = rng.random()
        last = draw()
        if roll < stage.later_turns:
            return self.conversation(last, [draw() for _ in range(rng.randint(1, stage.max_turns))])
        if roll < stage.later_turns + CUT_SHARE:
            return self.example(last, cut=rng.choice((0.0, rng.random())))
        return self.example(last)

    def conversation(self, last: Question, earlier: list[Question]) -> Example:
        while True:
            example = self.example(last, earlier)
            if len(example.ids) <= MAX_TOKENS:
                return example
            earlier = earlier[1:]
