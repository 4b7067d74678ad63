"""Trains `tiny` from scratch: `python -m scripts.tiny.train --work build/tiny`.

Needs PyTorch and `tokenizers`, which the package itself does not. Everything follows from one seed, and the state is
saved every few minutes, so that a run can be stopped and resumed with the same result.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from scripts.tiny.checkpoint import write_safetensors
from scripts.tiny.dialogue import Dialogue, Example
from scripts.tiny.model import Config, Qwen2
from scripts.tiny.questions import Task, sample
from scripts.tiny.schedule import ADAMW_LR, LAST_STEP, MUON_LR, POOL, SEED, rate, stage_of

TINY = Path(__file__).parents[2] / "quantize" / "r1_quantize" / "store" / "tiny"

DEV_COUNTS: dict[Task, int] = {
    "add": 60,
    "subtract": 60,
    "letters": 100,
    "decimals": 60,
    "greeting": 10,
    "identity": 10,
    "anything else": 60,
}

Group = tuple[Tensor, Tensor, Tensor]
Batch = list[Group]


@dataclass(slots=True)
class Progress:
    """The position in the training, complete enough to resume with the same result."""

    step: int = 0
    pool: int = 0
    place: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Log:
    """Prints the loss, the number of tokens and the speed now and then."""

    def __init__(self, done: Progress) -> None:
        self.done, self.losses = done, list[float]()
        self.seen = self.saved = time.monotonic()

    def add(self, loss: float) -> None:
        now = time.monotonic()
        self.losses.append(loss)
        self.done.seconds += now - self.seen
        self.seen = now

    def print(self) -> None:
        done, mean = self.done, sum(self.losses) / len(self.losses)
        self.losses.clear()
        speed = f"{done.tokens / 1e6:.2f} M tokens in {done.seconds:.0f} s, {done.tokens / done.seconds:.0f}/s"
        print(f"{done.step:5} loss {mean:.4f}  {speed}", flush=True)

    def since_saved(self) -> float:
        return time.monotonic() - self.saved

    def mark_saved(self) -> None:
        self.saved = time.monotonic()


def collate(examples: list[Example]) -> Group:
    """Token ids (batch, length), flat positions that predict a learned token (n,), and those tokens (n,)."""
    length = max(len(each.ids) for each in examples) - 1
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    at: list[int] = []
    targets: list[int] = []
    for row, each in enumerate(examples):
        ids[row, : len(each.ids) - 1] = torch.tensor(each.ids[:-1])
        at.extend(range(row * length + each.learn_from - 1, row * length + len(each.ids) - 1))
        targets.extend(each.ids[each.learn_from :])
    return ids, torch.tensor(at), torch.tensor(targets)


def by_length(examples: list[Example], group_tokens: int) -> list[list[Example]]:
    """Groups examples of similar length, so that there is little padding."""
    groups: list[list[Example]] = [[]]
    for each in sorted(examples, key=lambda example: len(example.ids)):
        if (len(groups[-1]) + 1) * len(each.ids) > group_tokens:
            groups.append([])
        groups[-1].append(each)
    return groups


def batches(dialogue: Dialogue, done: Progress) -> Iterator[tuple[Batch, int, int]]:
    """Endless batches, each with the pool and the index in it at which the next batch starts."""
    pool, place = done.pool, done.place
    while True:
        stage = stage_of(pool)
        rng = random.Random(f"{SEED}/{pool}")
        examples = [dialogue.random_example(rng, stage) for _ in range(POOL)]
        groups = by_length(examples, stage.group_tokens)
        rng.shuffle(groups)
        while place < len(groups):
            batch = [collate(group) for group in groups[place : place + stage.groups]]
            place += stage.groups
            yield batch, pool, place
        pool, place = pool + 1, 0


def optimizers(model: Qwen2) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    return [
        torch.optim.Muon(hidden, lr=MUON_LR, weight_decay=0.02, momentum=0.95, nesterov=True),
        torch.optim.AdamW(others, lr=ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def set_rates(steppers: list[torch.optim.Optimizer], share: float) -> None:
    for stepper, peak in zip(steppers, (MUON_LR, ADAMW_LR), strict=True):
        stepper.param_groups[0]["lr"] = peak * share


def learn(model: Qwen2, steppers: list[torch.optim.Optimizer], batch: Batch) -> float:
    """One optimizer step; returns the mean loss per learned token, in nats."""
    learned = sum(len(targets) for _, _, targets in batch)
    mean = 0.0
    for ids, at, targets in batch:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids, at)
        loss = cross_entropy(logits, targets, reduction="sum") / learned
        loss.backward()
        mean += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        stepper.step()
        stepper.zero_grad(set_to_none=True)
    return mean


@torch.no_grad()
def exact(model: Qwen2, dialogue: Dialogue) -> dict[str, str]:
    """Per task, how many development questions would be answered exactly, thinking included.

    Greedy decoding reproduces a text exactly if each token is the most likely one given those before it, so one pass
    over the text is enough.
    """
    right: dict[str, list[bool]] = {}
    questions = sample("dev", 1, DEV_COUNTS)
    for start in range(0, len(questions), 40):
        part = questions[start : start + 40]
        examples = [dialogue.example(each) for each in part]
        ids, at, targets = collate(examples)
        with torch.autocast("cpu", torch.bfloat16):
            hit = model(ids, at).argmax(-1) == targets
        for each, mine in zip(part, hit.split([len(e.ids) - e.learn_from for e in examples]), strict=True):
            right.setdefault(each.task, []).append(bool(mine.all()))
    return {task: f"{sum(hits)}/{len(hits)}" for task, hits in right.items()}


def train(work: Path, save_every: float, evaluate_every: int) -> None:
    torch.manual_seed(SEED)
    dialogue = Dialogue(TINY / "tokenizer.json")
    model = Qwen2(Config.read(TINY / "config.json"))
    steppers = optimizers(model)
    done = Progress()
    state_file = work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for stepper, saved in zip(steppers, state["steppers"], strict=True):
            stepper.load_state_dict(saved)
        done = Progress(**state["done"])
    log = Log(done)
    for batch, pool, place in batches(dialogue, done):
        set_rates(steppers, rate(done.step))
        log.add(learn(model, steppers, batch))
        done.pool, done.place = pool, place
        done.step += 1
        done.tokens += sum(ids.numel() for ids, _, _ in batch)
        if done.step % 20 == 0:
            log.print()
        if done.step % evaluate_every == 0 or done.step == LAST_STEP:
            print(f"{done.step:5} exact {json.dumps(exact(model, dialogue))}", flush=True)
        if log.since_saved() > save_every or done.step == LAST_STEP:
            log.mark_saved()
            aside = state_file.with_suffix(".part")
            steps = [stepper.state_dict() for stepper in steppers]
            torch.save({"model": model.state_dict(), "steppers": steps, "done": asdict(done)}, aside)
            aside.replace(state_file)
            write_safetensors(model.state_dict(), work / "model.safetensors")
        if done.step == LAST_STEP:
            write_safetensors(model.state_dict(), TINY / "model.safetensors")
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where state.pt and model.safetensors are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--evaluate-every", type=int, default=500, help="steps")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    train(options.work, options.save_every, options.evaluate_every)


if __name__ == "__main__":
    main()
