"""The description of the service in OpenAPI."""
from __future__ import annotations
from collections.abc import Mapping
from typing import Any
from tinygrad_mnist.serve.limits import Limits
def document(model: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the description."""
    return {"openapi": "3.1.0"}
