"""`r1.engine.llama`: the library, initialised once; its log kept, not shown."""

from __future__ import annotations

from r1.engine.llama import Log

WARN, ERROR, INFO, CONTINUE = 3, 4, 2, 5


class TestLog:
    """Complaints are kept, everything else goes by."""

    def test_keeps_warnings_and_errors_only(self) -> None:
        log = Log()
        log.write(INFO, "loading\n")
        log.write(WARN, "odd\n")
        log.write(ERROR, "broken\n")
        assert list(log.complaints) == ["odd", "broken"]

    def test_a_continued_line_has_the_level_of_its_beginning(self) -> None:
        log = Log()
        log.write(INFO, "dots")
        log.write(CONTINUE, "....")
        log.write(ERROR, "broken")
        log.write(CONTINUE, " more")
        assert list(log.complaints) == ["broken", "more"]

    def test_the_reason_is_the_error_without_the_functions_name(self) -> None:
        log = Log()
        log.write(WARN, "something: odd\n")
        log.write(ERROR, "llama_model_load: error loading model: tensor 'a' is missing\n")
        log.write(ERROR, "llama_model_load_from_file_impl: failed to load model\n")
        assert log.reason() == "tensor 'a' is missing"

    def test_without_complaints_it_says_so(self) -> None:
        assert Log().reason() == "llama.cpp gave no reason"
