"""The counters of the service, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_IMAGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PREFIX: Final = "tinygrad_mnist"


class Metrics:
    """The counters of one service, in a registry of its own.

    Parameters
    ----------
    name, version : str
        Those of the model.
    """

    def __init__(self, name: str, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "requests", "Requests answered", ["route", "status"], namespace=_PREFIX, registry=registry
        )
        self._seconds = Histogram(
            "request_seconds",
            "Time from the headers of a request to its answer",
            ["route"],
            namespace=_PREFIX,
            registry=registry,
            buckets=_SECONDS,
        )
        self._rejected = Counter(
            "rejected", "Requests answered by an error", ["reason"], namespace=_PREFIX, registry=registry
        )
        self._pictures = Counter("pictures", "Pictures recognised", namespace=_PREFIX, registry=registry)
        self._batches = Histogram(
            "batch_pictures",
            "Pictures that went through the network in one pass",
            namespace=_PREFIX,
            registry=registry,
            buckets=_IMAGES,
        )
        Info("model", "The model that answers", namespace=_PREFIX, registry=registry).info(
            {"name": name, "version": version}
        )
        ProcessCollector(registry=registry)  # memory, processor time and open files, where /proc tells them

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show what a function returns at the time that it is asked for."""
        Gauge(name, text, namespace=_PREFIX, registry=self.registry).set_function(value)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count an error; ``reason`` is one word of a few."""
        self._rejected.labels(reason).inc()

    def recognised(self, pictures: int) -> None:
        """Count a batch."""
        self._pictures.inc(pictures)
        self._batches.observe(pictures)

    def text(self) -> bytes:
        """Return all of it as text."""
        return generate_latest(self.registry)
