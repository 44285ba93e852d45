"""A name of PyTorch's that is another here raises an error that says the name here; what it says works."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist
from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.engine import pytorch_names

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "from_pytorch.md"
MODULES = {name: importlib.import_module(f"tinygrad_mnist.{name}") for name in pytorch_names.MODULES}


def names_in_code() -> dict[str, Any]:
    """What the code in the tables may use."""
    import tinygrad_mnist.testing
    import tinygrad_mnist.training

    rng = np.random.default_rng(0)
    x, y = (Tensor(rng.uniform(0.1, 0.9, (2, 3)), requires_grad=True) for _ in range(2))
    public = {name: getattr(tinygrad_mnist, name) for name in tinygrad_mnist.__all__}
    return public | {
        "np": np, "x": x, "y": y, "w": Tensor(np.ones((3, 2)), requires_grad=True), "b": np.ones((2, 2)),
        "a": np.array([[2.0, 1.0], [1.0, 3.0]]), "n": 1, "axis": 1, "shape": (2, 3), "values": [1.0, 2.0],
        "array": np.ones(3), "index": np.array([1, 0]), "indices": np.array([[0], [1]]),
        "mask": x.data > 0.5, "testing": tinygrad_mnist.testing, "training": tinygrad_mnist.training,
    }  # fmt: skip


ADVICE = sorted(
    {
        *pytorch_names.METHODS.values(),
        *pytorch_names.IN_PLACE.values(),
        *pytorch_names.TOP_LEVEL.values(),
        *pytorch_names.KEYWORDS.values(),
        *pytorch_names.MODULE_METHODS.values(),
        *pytorch_names.LAYER_KEYWORDS.values(),
        *pytorch_names.FAMILIES.values(),
        *(advice for table in pytorch_names.MODULES.values() for advice in table.values()),
    }
)


def test_the_code_that_errors_show_runs() -> None:
    pieces = [code for advice in ADVICE for code in re.findall("`([^`]+)`", advice)]
    assert len(pieces) > 120
    for code in pieces:
        exec(code, names_in_code())


def test_a_method_of_pytorchs_is_told() -> None:
    x, weight = Tensor(np.ones((2, 3))), nn.Parameter(np.ones(3))
    names = pytorch_names.PYTORCH_METHODS - {"requires_grad_"}
    assert len(names) > 300
    assert names.isdisjoint(dir(x))
    for name in names:
        for tensor in (x, weight):
            with pytest.raises(AttributeError, match=rf"object has no attribute '{name}'; ") as raised:
                getattr(tensor, name)
            assert raised.value.name == name
            assert raised.value.obj is tensor
        assert not any(hasattr(owner, name) for owner in (x, weight, Tensor))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *((tinygrad_mnist, name) for name in [*pytorch_names.TOP_LEVEL, "clamp", "exp", "float32"]),
        (tinygrad_mnist, "zeros_like"),
        *((MODULES[own], name) for own, table in pytorch_names.MODULES.items() for name in table),
        (nn, "Conv3d"), (nn, "LSTM"), (nn.functional, "max_pool1d"), (nn, "BatchNorm3d"), (nn, "Dropout1d"),
        (nn, "InstanceNorm2d"), (nn, "ZeroPad2d"), (nn, "MaxUnpool2d"), (nn, "UpsamplingNearest2d"),
        (nn.functional, "clamp"), (nn.functional, "tanh_"), (optim, "MultiStepLR"),
    ],
)  # fmt: skip
def test_a_name_of_pytorchs_modules_is_told(module: Any, name: str) -> None:
    if name in vars(module):
        pytest.skip("it is here by now")
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; "):
        getattr(module, name)
    assert not hasattr(module, name)
    with pytest.raises(ImportError, match=rf"has no attribute '{name}'; "):
        exec(f"from {module.__name__} import {name}", {})


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (tinygrad_mnist, "manual_seed", "it is `nn.manual_seed`"),
        (tinygrad_mnist, "Linear", "it is `nn.Linear`"),
        (tinygrad_mnist, "relu", "it is `nn.functional.relu`"),
        (nn, "clip_grad_norm_", "it is `optim.clip_grad_norm_`"),
        (nn, "Tensor", "it is `tinygrad_mnist.Tensor`"),
        (nn, "relu", "it is `nn.functional.relu`"),
        (nn, "Lineer", "did you mean 'Linear'"),
        (nn.init, "xavier_uniform", "it is `nn.init.xavier_uniform_`"),
        (nn.functional, "SGD", "it is `optim.SGD`"),
        (optim, "Module", "it is `nn.Module`"),
        (optim, "StepLr", "did you mean 'StepLR'"),
    ],
)
def test_a_name_that_is_elsewhere_is_told(module: Any, name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(said)):
        getattr(module, name)


@pytest.mark.parametrize("owner", [tinygrad_mnist, nn, nn.functional, nn.init, optim, Tensor(1.0)])
@pytest.mark.parametrize("name", ["nonsense", "__nonsense__", "_nonsense", "is_nonsense"])
def test_a_name_that_nobody_knows_is_the_usual_error(owner: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$"):
        getattr(owner, name)
    assert getattr(owner, name, 7) == 7


def test_python_says_where_a_name_nobody_knows_was_imported_from() -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'nonsense' from 'tinygrad_mnist\.nn'"):
        exec("from tinygrad_mnist.nn import nonsense", {})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: x.sum(dim=1), r"Tensor\.sum does not take dim=: .* axis"),
        (lambda x: x.mean(dim=(0, 1), keepdim=True), "axis"),
        (lambda x: x.sum(axis=1, keepdim=True), "keepdims"),
        (lambda x: x.std(axis=0, unbiased=False), "ddof"),
        (lambda x: x.argmax(dim=1), "axis"),
        (lambda x: x.cumsum(dim=0), "axis"),
        (lambda x: x.logsumexp(dim=0), "axis"),
        (lambda x: x.transpose(dim0=0, dim1=1), "axis1 and axis2"),
        (lambda x: x.squeeze(dim=0), "axis"),
        (lambda x: x.flatten(start_dim=1), r"x\.reshape\(len\(x\), -1\)"),
        (lambda x: x.flatten(1), r"x\.reshape\(len\(x\), -1\)"),
        (lambda x: x.size(), r"x\.shape"),
        (lambda x: x.size(0), r"x\.shape\[0\] for x\.size\(0\)"),
        (lambda x: x.view(-1), r"\.reshape\(shape\)"),
    ],
)
def test_an_argument_of_pytorchs_is_told(call: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("name", pytorch_names.MODULE_METHODS)
def test_a_method_of_pytorchs_module_is_told(name: str) -> None:
    layer = nn.Linear(2, 1)
    with pytest.raises(AttributeError, match=rf"'Linear' has no attribute '{name}'; ") as raised:
        getattr(layer, name)
    assert raised.value.obj is layer
    assert not hasattr(nn.Module, name)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("from tinygrad_mnist.nn.utils import clip_grad_norm_", "`optim.clip_grad_norm_`"),
        ("import tinygrad_mnist.nn.utils", "`optim.clip_grad_norm_`"),
        ("import tinygrad_mnist.optim.lr_scheduler", "`optim.StepLR`"),
        ("from tinygrad_mnist.optim.lr_scheduler import StepLR", "`optim.StepLR`"),
        ("from tinygrad_mnist.utils.data import DataLoader", "`data.batches` is the DataLoader"),
        ("import tinygrad_mnist.autograd", "backward"),
    ],
)
def test_an_import_of_pytorchs_modules_is_told(statement: str, said: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=re.escape(said)) as raised:
        exec(statement, {})
    assert raised.value.name == re.findall(r"No module named '(.*)';", str(raised.value))[0]


@pytest.mark.parametrize("name", ["tinygrad_mnist.nonsense", "tinygrad_mnist.nn.nonsense", "nn.utils"])
def test_an_import_that_nobody_knows_is_the_usual_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named '[\w.]*'$"):
        importlib.import_module(name)


def test_load_tells_of_weights_first() -> None:
    with pytest.raises(AttributeError, match=r"model\.load\(path\).* data\.load"):
        tinygrad_mnist.load  # noqa: B018


@pytest.mark.parametrize("function", [nn.functional.softmax, nn.functional.log_softmax])
def test_numpys_name_of_an_axis_is_told_where_pytorchs_holds(function: Any) -> None:
    with pytest.raises(TypeError, match=r"softmax\(\) got an unexpected .* 'axis'; it is called dim here"):
        function(np.ones((2, 3)), axis=1)


def test_another_wrong_keyword_is_the_usual_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'axes'"):
        Tensor(np.ones(3)).sum(axes=0)  # type: ignore[call-arg]


def test_the_size_is_a_number() -> None:
    size = Tensor(np.ones((2, 3))).size
    assert (size, repr(size), np.zeros(size).shape) == (6, "6", (6,))
    assert isinstance(size, int)


def test_every_method_on_the_page_is_here_or_told() -> None:
    x = Tensor(np.ones((2, 3)))
    methods = set(re.findall(r"`[xy]\.(\w+)\(", PAGE.read_text(encoding="utf-8")))
    assert len(methods) > 40
    for name in sorted(methods):
        if not hasattr(x, name):
            with pytest.raises(AttributeError, match="; "):
                getattr(x, name)


@pytest.mark.peers
def test_the_most_used_names_of_torch_are_here_or_told() -> None:
    torch = pytest.importorskip("torch")
    told = {
        "Tensor": (torch.Tensor, Tensor(np.ones((2, 3)))),
        "optim": (torch.optim, optim),
        "schedules": (torch.optim.lr_scheduler, optim),
        "init": (torch.nn.init, nn.init),
    }
    untold: dict[str, list[str]] = {}
    for place, (theirs, ours) in told.items():
        for name in dir(theirs):
            try:
                if not name.startswith("_") and getattr(theirs, name, None) is not None:
                    getattr(ours, name)
            except AttributeError as error:
                if "; " not in str(error):
                    untold.setdefault(place, []).append(name)
    print(untold)
    assert len(untold["Tensor"]) < 170  # sparse, quantised and private ones
