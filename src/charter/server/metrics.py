"""What Prometheus may read of a server: verdicts, layers, their seconds, and requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from charter.guard.verdicts import Decision, Side

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._verdicts = Counter("charter_verdicts", "Decisions.", ("side", "verdict"), registry=self._registry)
        self._clauses = Counter("charter_clauses", "Stops by clause.", ("clause",), registry=self._registry)
        self._layers = Counter("charter_layers", "Layers.", ("side", "layer", "status"), registry=self._registry)
        self._layer_seconds = Histogram(
            "charter_layer_seconds", "Time of a layer.", ("side", "layer"), buckets=_SECONDS, registry=self._registry
        )
        self._requests = Counter("charter_requests", "Answers.", ("path", "status"), registry=self._registry)
        self._seconds = Histogram(
            "charter_request_seconds", "Time of a request.", ("path",), buckets=(*_SECONDS, 30, 60, 120),
            registry=self._registry,
        )  # fmt: skip
        self.under_way = Gauge("charter_requests_under_way", "Requests under way.", registry=self._registry)

    def decided(self, side: Side, decision: Decision) -> None:
        """Count a decision and its layers."""
        self._verdicts.labels(side, decision.verdict).inc()
        if decision.stopped:
            for clause in decision.clauses:
                self._clauses.labels(clause).inc()
        for layer in decision.layers:
            self._layers.labels(side, layer.name, layer.status).inc()
            if layer.status == "ran":
                self._layer_seconds.labels(side, layer.name).observe(layer.ms / 1e3)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
