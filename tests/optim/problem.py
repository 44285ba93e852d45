"""A small problem on which every optimiser is run, and with what options. Only NumPy: PyTorch runs it too.

The gradients depend on the parameters, so that a difference in one step is carried on to all that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEPS = 50
RECORDED = (1, 2, 10, 50)
SHAPES = ((2, 3), (3,), ())

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd_l2": ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "sgd_momentum": ("SGD", {"lr": 0.02, "momentum": 0.9}),
    "sgd_dampening_l2": ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.05}),
    "sgd_nesterov": ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_centered": ("RMSprop", {"lr": 0.02, "alpha": 0.9, "centered": True}),
    "rmsprop_momentum_l2": ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1, "eps": 1e-4}),
    "rmsprop_everything": (
        "RMSprop",
        {"momentum": 0.5, "weight_decay": 0.1, "centered": True, "alpha": 0.95},
    ),
    "adam": ("Adam", {}),
    "adam_l2": ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    "adam_betas_eps": ("Adam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-2}),
    "adam_no_momentum": ("Adam", {"lr": 0.02, "betas": (0.0, 0.99)}),
    "adamw": ("AdamW", {"lr": 0.05}),
    "adamw_decay": ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "betas": (0.8, 0.95)}),
    "sgd_maximize": ("SGD", {"lr": 0.01, "maximize": True}),
    "sgd_maximize_everything": (
        "SGD",
        {"lr": 0.01, "maximize": True, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ),
    "rmsprop_maximize": (
        "RMSprop",
        {"maximize": True, "momentum": 0.5, "weight_decay": 0.1, "centered": True, "alpha": 0.9},
    ),
    "adam_maximize_l2": ("Adam", {"lr": 0.02, "maximize": True, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"lr": 0.05, "amsgrad": True, "betas": (0.9, 0.9)}),
    "adamw_amsgrad_maximize": (
        "AdamW",
        {"lr": 0.02, "amsgrad": True, "maximize": True, "betas": (0.7, 0.8), "weight_decay": 0.2},
    ),
}

SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "step": ("StepLR", {"step_size": 7, "gamma": 0.3}),
    "exponential": ("ExponentialLR", {"gamma": 0.93}),
    "cosine": ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    "linear": ("LinearLR", {}),
    "linear_long": ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 30}),
    "one_cycle": ("OneCycleLR", {"max_lr": 0.1, "total_steps": 50}),
    "one_cycle_epochs": (
        "OneCycleLR",
        {"max_lr": 0.2, "epochs": 3, "steps_per_epoch": 17, "pct_start": 0.45},
    ),
    "one_cycle_linear": (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 60, "anneal_strategy": "linear", "div_factor": 10.0},
    ),
    "one_cycle_three_phase": (
        "OneCycleLR",
        {
            "max_lr": 0.1,
            "total_steps": 50,
            "three_phase": True,
            "final_div_factor": 50.0,
            "max_momentum": 0.9,
        },
    ),
    "one_cycle_rate_only": ("OneCycleLR", {"max_lr": 0.1, "total_steps": 50, "cycle_momentum": False}),
}


def start_values() -> list[Array]:
    """The parameters before the first step."""
    return [
        np.cos(1.0 + 2.0 * k + np.arange(np.prod(shape)).reshape(shape)) for k, shape in enumerate(SHAPES)
    ]


def gradient(value: Array, k: int, step: int) -> Array | None:
    """The gradient of parameter ``k`` in this step; there is none for the second in every third step."""
    if k == 1 and step % 3 == 2:
        return None
    noise = 0.5 * np.cos(step + np.arange(value.size).reshape(value.shape))
    return np.asarray(np.sin(2 * value + k) + 0.3 * value + noise)
