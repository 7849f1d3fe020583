"""Prometheus metrics. docs/production.md explains each; a test compares the two."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reranker import Answer, BreakerState, Engine, Memory

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """Metrics of one service, in their own registry. Labels never hold user data."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"whyrank_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"whyrank_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"whyrank_{name}", text, labels, buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Requests, by route and status", "route", "status")
        self.request_seconds = histogram("request_seconds", "Time of a request", _SECONDS, "route")
        self.in_flight = gauge("in_flight_requests", "Requests that are being answered")
        self.connections = gauge("connections", "Connections that are open")
        self.connections_closed = counter("connections_closed", "Connections that the service ended early", "reason")
        self.loop_lag = histogram("loop_lag_seconds", "Time that the event loop was late", _SECONDS)
        self.answers = counter("answers", "Recommendations, by what ordered them", "ranker")
        self.llm_asked = counter("llm_asked", "Recommendations, by whether the LLM was asked to rank and why", "why")
        self.degraded = counter("degraded", "Stages that were replaced by their fallback", "stage", "code")
        self.reasons = counter("reasons", "Reasons, by who wrote them", "source")
        self.stage_seconds = histogram("stage_seconds", "Time of a stage of a recommendation", _SECONDS, "stage")
        self.prompts = counter("prompts_used", "Recommendations that a prompt was sent for", "stage", "name", "version")
        self.llm_requests = counter("llm_requests", "Requests that the LLM answered")
        self.llm_tokens = counter("llm_tokens", "Tokens at the LLM: prompt, of these cached, and completion", "kind")
        self.label_mass = histogram("label_mass_ratio", "Probability that the model put on the labels", _SHARES)
        self.order_stability = gauge("order_stability_ratio", "Rank correlation between label reads in two orders")
        self.llm_restarts = counter("llm_restarts", "Times that the local vLLM was started again")
        self.reloads = counter("artifact_reloads", "Attempts to take up a new artifact", "outcome")
        self.watch_errors = counter("watch_errors", "Unforeseen errors of background watchers, by watcher", "watcher")
        self.artifact_created = gauge("artifact_created_timestamp_seconds", "When the artifact in use was fitted")
        ProcessCollector(namespace="whyrank", registry=self.registry)

    def watch(self, engine: Engine, memory: Memory) -> None:
        """Export the state of the LLM client and of its store on disk."""
        self.registry.register(_EngineCollector(engine, memory))

    def answered(self, answer: Answer) -> None:
        """Count one recommendation."""
        self.answers.labels(answer.ranker).inc()
        self.llm_asked.labels(answer.llm_asked).inc()
        if answer.label_mass is not None:
            self.label_mass.observe(answer.label_mass)
        if answer.order_stability is not None:
            self.order_stability.set(answer.order_stability)
        for degradation in answer.degraded:
            self.degraded.labels(degradation.stage, degradation.code).inc()
        for item in answer.items:
            if item.reason:
                self.reasons.labels(item.reason.source).inc()
        for stage in ("retrieve", "rank", "explain", "reasons"):
            self.stage_seconds.labels(stage).observe(getattr(answer.timings_ms, stage) / 1000)
        for stage, used in (("rank", answer.prompts.rank), ("reason", answer.prompts.reason)):
            if used:
                self.prompts.labels(stage, used.name, used.version).inc()
        usage = answer.usage
        self.asked(usage.llm_requests, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)

    def asked(self, requests: int, prompt: int, cached: int, completion: int) -> None:
        """Count LLM requests and tokens."""
        self.llm_requests.inc(requests)
        for kind, tokens in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            self.llm_tokens.labels(kind).inc(tokens)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """Read the state of the LLM client at scrape time, so that nothing is counted twice."""

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self._engine = engine
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        state = self._engine.state()
        yield GaugeMetricFamily("whyrank_llm_in_flight_requests", "Requests that the LLM works on", state.in_flight)
        yield GaugeMetricFamily("whyrank_llm_waiting_requests", "Requests in line for the LLM", state.waiting)
        yield GaugeMetricFamily("whyrank_llm_cached_results", "Results that are remembered", state.cache_entries)
        yield CounterMetricFamily("whyrank_llm_cache_hits", "Questions answered from memory", state.cache_hits)
        yield CounterMetricFamily("whyrank_llm_cache_misses", "Questions that were not", state.cache_misses)
        failures = self._memory.failures
        yield CounterMetricFamily("whyrank_llm_memory_failures", "Times that reads.sqlite could not be used", failures)
        breaker = GaugeMetricFamily("whyrank_llm_breaker_state", "1 for the state it is in", labels=["state"])
        for name in get_args(BreakerState):
            breaker.add_metric([name], float(state.breaker == name))
        yield breaker
