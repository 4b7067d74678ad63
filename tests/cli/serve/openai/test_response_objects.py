"""The objects of responses."""

from __future__ import annotations

from r1.engine.events import Usage
from r1.serve.openai.response_objects import message_item, reasoning_item, usage_object
from tests.cli.serve.openai.test_response_stream import answering


def test_usage() -> None:
    assert usage_object(Usage(10, 5, 3, discarded_tokens=2, cached_tokens=4)) == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 20,
    }


def test_an_item_has_the_number_of_its_response() -> None:
    made = answering()
    assert reasoning_item(made, "Hm", "completed", as_summary=False)["id"] == "rs_1"
    assert message_item(made, "Hi", "completed")["id"] == "msg_1"


def test_an_item_whose_text_is_still_to_come_has_no_part() -> None:
    made = answering()
    opened = reasoning_item(made, "", "in_progress", as_summary=True)
    assert (opened["summary"], opened["content"], opened["status"]) == ([], [], "in_progress")
    assert message_item(made, None, "in_progress")["content"] == []
