"""Run PyTorch's optimisers and schedules in float64 and keep what they give, for the tests to compare with.

Needs PyTorch. From the repository's root::

    python scripts/make_optimizer_reference.py

writes tests/optim/reference.json. The problem and the options are in tests/optim/problem.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.optim import problem  # noqa: E402

TARGET = ROOT / "tests" / "optim" / "reference.json"


def run_optimizer(kind: str, options: dict[str, Any]) -> dict[str, list[float]]:
    """Return all parameters, one after the other, after some of the steps."""
    parameters = [torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in problem.start_values()]
    optimizer = getattr(torch.optim, kind)(parameters, **options)
    recorded = {}
    for step in range(1, problem.STEPS + 1):
        for k, parameter in enumerate(parameters):
            gradient = problem.gradient(parameter.detach().numpy(), k, step)
            parameter.grad = None if gradient is None else torch.from_numpy(gradient)
        optimizer.step()
        if step in problem.RECORDED:
            recorded[str(step)] = torch.cat([parameter.detach().ravel() for parameter in parameters]).tolist()
    return recorded


def run_schedule(kind: str, options: dict[str, Any]) -> dict[str, list[float]]:
    """Return the learning rate and the momentum in each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.5)
    schedule = getattr(torch.optim.lr_scheduler, kind)(optimizer, **options)
    rates, momenta = [], []
    for _ in range(problem.STEPS):
        rates.append(schedule.get_last_lr()[0])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.step()
    return {"lr": rates, "momentum": momenta if kind == "OneCycleLR" else momenta[:1]}


def main() -> None:
    """Write the file."""
    reference = {
        "torch": torch.__version__.split("+")[0],
        "optimizers": {name: run_optimizer(*case) for name, case in problem.OPTIMIZERS.items()},
        "schedules": {name: run_schedule(*case) for name, case in problem.SCHEDULES.items()},
    }
    # 12 significant digits are far more than the comparison needs.
    text = json.dumps(
        json.loads(json.dumps(reference), parse_float=lambda digits: float(f"{float(digits):.12g}"))
    )
    TARGET.write_text(text.replace('}, "', '},\n"').replace('], "', '],\n  "') + "\n", encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size} bytes, PyTorch {reference['torch']}")


if __name__ == "__main__":
    main()
