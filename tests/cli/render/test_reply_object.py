"""`r1.render.reply_object`: the JSON object of a reply."""

from __future__ import annotations

import pytest

from r1.engine.events import Drafted, Finished, Timings, Usage
from r1.fit.needs import Needs
from r1.fit.plan import MemoryPlan
from r1.render.reply_object import reply_object, unanswered_object
from r1.render.reply_text import Reply

PLAN = MemoryPlan(4096, "q8_0", 5, Needs(0, 0), 4096, fits=True, sequences=8, wanted_sequences=8)
DRAFTED = Drafted(9, 6, 3, 1.5)
TIMINGS = Timings(ttft_s=0.123456, prefill_tps=10.0, decode_tps=20.0, total_s=1.0)


@pytest.mark.parametrize("threads", [3, None])
def test_it_has_the_text_what_it_depends_on_and_the_costs(threads: int | None) -> None:
    reply = Reply(Finished("stop", Usage(3, 2, 1, 5, 2), TIMINGS, threads, "loop", DRAFTED), thinking="hm", answer="42")
    assert reply_object(reply, "tiny:Q8_0", 7, PLAN, load_s=0.5, valid=True) == {
        "answer": "42",
        "thinking": "hm",
        "finish_reason": "stop",
        "thinking_end": "loop",
        "valid": True,
        "model": "tiny:Q8_0",
        "seed": 7,
        "context": {"tokens": 4096, "kv_type": "q8_0", "gpu_layers": 5, "threads": threads, "sequences": 8},
        "usage": {
            "prompt_tokens": 3,
            "thinking_tokens": 2,
            "answer_tokens": 1,
            "discarded_tokens": 5,
            "cached_tokens": 2,
        },
        "timings": {"load_s": 0.5, "ttft_s": 0.1235, "prefill_tps": 10.0, "decode_tps": 20.0, "total_s": 1.0},
        "speculation": {"proposed": 9, "accepted": 6, "tokens_per_pass": 3.0, "speedup": 1.5},
    }


def test_without_a_model_it_has_the_same_keys() -> None:
    reply = Reply(Finished("stop", Usage(3, 2, 1), TIMINGS), thinking="hm", answer="42")
    unanswered = unanswered_object(None, None)
    assert list(unanswered) == list(reply_object(reply, "tiny:Q8_0", 7, PLAN, load_s=0.5, valid=None))
    assert (unanswered["finish_reason"], unanswered["context"], unanswered["seed"]) == ("interrupted", None, None)
    assert (unanswered["thinking_end"], unanswered["valid"], unanswered["speculation"]) == (None, None, None)
    assert set(unanswered["usage"].values()) == {0}
