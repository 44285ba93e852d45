"""Write the weights of PyTorch's modules as PyTorch writes them, and what the modules compute.

Needs PyTorch and safetensors. From the repository's root::

    python scripts/make_weight_files.py

writes modules.pt, modules.safetensors, outputs.json and odd.pt to tests/exchange/weights/files. The modules
are in tests/exchange/weights/modules.py.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.exchange.weights import modules  # noqa: E402

TARGET = ROOT / "tests" / "exchange" / "weights" / "files"


def outputs(model: Any) -> dict[str, list[float]]:
    """Return what each module gives, as flat lists."""
    found = {}
    for name, case in modules.CASES.items():
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = model[name](*map(torch.from_numpy, case.inputs))
        found[name] = [float(f"{number:.7g}") for number in value.flatten().tolist()]
    return found


def odd_tensors() -> dict[str, Any]:
    """Return tensors that lie in memory in unusual ways, and of every dtype; each counts 0, 1, 2, ..."""
    counted = torch.arange(6)
    halves = torch.arange(12.0)
    tied = torch.arange(6.0).reshape(2, 3)
    return {
        "transposed": torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]).T,
        "strided": torch.stack([torch.arange(6.0), torch.zeros(6)], 1)[:, 0],
        "second half": halves.roll(6)[6:],
        "parameter": torch.nn.Parameter(torch.arange(6.0)),
        "tied": tied,
        "twin": tied,
        "number": torch.tensor(0.0),
        "empty": torch.zeros(0, 3),
        **{
            str(dtype).removeprefix("torch."): counted.to(dtype)
            for dtype in (
                *(torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
                *(torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
            )
        },
        "bool": torch.tensor([False, True]),
    }


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = modules.everything(torch.nn)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    outputs(model)  # in training: running statistics that are not those of the beginning
    torch.save(model.state_dict(), TARGET / "modules.pt")
    safetensors.torch.save_model(model, str(TARGET / "modules.safetensors"))
    evaluation, training = outputs(model.eval()), outputs(model.train())
    differing = {name: numbers for name, numbers in training.items() if numbers != evaluation[name]}
    recorded = {"evaluation": evaluation, "training": differing}
    (TARGET / "outputs.json").write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")
    torch.save(odd_tensors(), TARGET / "odd.pt")


if __name__ == "__main__":
    main()
