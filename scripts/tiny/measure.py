"""Runs the held-out test on a GGUF through llama.cpp: `python -m scripts.tiny.measure tiny-Q8_0.gguf`.

Prints, per task, how many of the 400 questions are answered correctly greedily and at DeepSeek's 0.6 / 0.95.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from llama_cpp import Llama

from scripts.tiny.dialogue import Dialogue
from scripts.tiny.questions import HELD_OUT_COUNTS, Question, held_out, is_right

TINY = Path(__file__).parents[2] / "quantize" / "r1_quantize" / "store" / "tiny"
MAX_TOKENS = 500


class Reader:
    """Asks the model one question and returns its thinking and its answer."""

    def __init__(self, gguf: Path, threads: int) -> None:
        self.llm = Llama(str(gguf), n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
        self.dialogue = Dialogue(TINY / "tokenizer.json")
        self.tokens = 0

    def reply(self, question: Question, temperature: float, seed: int) -> tuple[str, str]:
        example = self.dialogue.example(question)
        self.llm.reset()
        self.llm.set_seed(seed)
        written: list[int] = []
        stream = self.llm.generate(
            example.ids[: example.learn_from], temp=temperature, top_k=0, top_p=0.95, min_p=0.0, repeat_penalty=1.0
        )
        for token in stream:
            if token == self.dialogue.eos or len(written) == MAX_TOKENS:
                break
            written.append(token)
        self.tokens += len(written)
        if self.dialogue.end_think not in written:
            return self.dialogue.tokenizer.decode(written), ""
        end = written.index(self.dialogue.end_think)
        thinking, answer = (self.dialogue.tokenizer.decode(part) for part in (written[:end], written[end + 1 :]))
        return thinking, answer.strip()


def measure(reader: Reader, temperature: float, seed: int, show: bool) -> Counter[str]:
    right: Counter[str] = Counter()
    for number, question in enumerate(held_out()):
        thinking, answer = reader.reply(question, temperature, seed + number)
        right[question.task] += is_right(question, answer)
        if show and not is_right(question, answer):
            wrong = {"asked": question.text, "expected": question.expected, "thinking": thinking, "answer": answer}
            print(json.dumps(wrong, ensure_ascii=False))
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="passes at 0.6")
    parser.add_argument("--show", action="store_true", help="print every wrong answer")
    options = parser.parse_args()
    reader = Reader(options.gguf, options.threads)
    started = time.monotonic()
    greedy = measure(reader, 0.0, 1, options.show)
    sampled: Counter[str] = Counter()
    for run in range(options.seeds):
        sampled += measure(reader, 0.6, 1 + 1000 * run, options.show)
    print("| Task | Questions | Greedy | At 0.6 / 0.95 |\n| --- | ---: | ---: | ---: |")
    for task, count in [*HELD_OUT_COUNTS.items(), ("all", sum(HELD_OUT_COUNTS.values()))]:
        at_zero, at_six = (runs.total() if task == "all" else runs[task] for runs in (greedy, sampled))
        passes = f"{at_six / count / options.seeds:.1%}" if options.seeds else "–"
        print(f"| {task} | {count} | {at_zero} ({at_zero / count:.1%}) | {passes} |")
    print(f"{reader.tokens / (time.monotonic() - started):.0f} tokens a second")


if __name__ == "__main__":
    main()
