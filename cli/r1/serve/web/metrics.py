"""The figures of /metrics, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from r1.serve.entry import Entry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What has happened since the start. Used on the event loop's thread only."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each series, which nobody asks for
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests, by path and status.", "path", "status")
        self._tokens = self._counter("tokens", "Tokens of prompts and replies.", "kind")
        self._replies = self._counter("replies", "Replies, by how they ended.", "reason")
        self._wait = self._seconds("wait_seconds", "From the request to the beginning of its prompt.")
        self._ttft = self._seconds("first_token_seconds", "From the beginning of the prompt to the first token.")
        self._active = Gauge("r1_active_requests", "Questions that wait or are answered.", registry=self._registry)

    def add(self, entry: Entry) -> None:
        """A request that is over."""
        path = entry.path if entry.status not in {404, 405} else "other"  # anyone can think up paths
        self._requests.labels(path, str(entry.status or 499)).inc()
        if entry.asked is None:
            return
        if entry.asked.wait_s is not None:
            self._wait.observe(entry.asked.wait_s)
        for number, finished in enumerate(entry.asked.finished):
            usage = finished.usage
            self._replies.labels(finished.reason).inc()
            self._ttft.observe(finished.timings.ttft_s)
            if number == 0:
                self._tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
                self._tokens.labels("cached").inc(usage.cached_tokens)
            self._tokens.labels("thinking").inc(usage.thinking_tokens + usage.discarded_tokens)
            self._tokens.labels("answer").inc(usage.answer_tokens)

    def text(self, active: int) -> bytes:
        """All figures; `active` questions wait or are answered now."""
        self._active.set(active)
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"r1_{name}", what, labels, registry=self._registry)

    def _seconds(self, name: str, what: str) -> Histogram:
        return Histogram(f"r1_{name}", what, buckets=_SECONDS, registry=self._registry)
