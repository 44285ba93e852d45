"""Names of PyTorch that are others here: what an error says to somebody who writes one of them.

The tables are read when one of these names is met, so they cost nothing elsewhere. Code in backticks can be
run: ``x``, ``y`` and ``w`` in it stand for Tensors.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import getattr_static
from types import FrameType
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import numpy as np

from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, UFUNCS

__all__ = ["PyTorchNames", "keyword_advice", "missing_name", "module_method_advice", "with_keyword_advice"]

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")

_CPU: Final = "leave it out: all Tensors are on the CPU"
_LAYOUT: Final = "leave it out: a Tensor promises no layout in memory"
_SCHEDULES: Final = (
    "the schedules are in optim itself, as in `optim.StepLR`; one of your own is a subclass of "
    "`optim.LRScheduler` that defines rate()"
)
_OPTIMIZERS: Final = (
    "there are `optim.SGD`, `optim.Adam`, `optim.AdamW` and `optim.RMSprop`; one of your own is a subclass "
    "of `optim.Optimizer`"
)
_CONVOLUTIONS: Final = (
    "there are `nn.Conv1d`, `nn.Conv2d` and `nn.ConvTranspose2d`; a sequence is an image of one row, as in "
    "`x[:, :, None]`"
)
_POOLS: Final = (
    "there are `nn.MaxPool2d`, `nn.AvgPool2d` and `nn.AdaptiveAvgPool2d`; a sequence is an image of one row, "
    "as in `x[:, :, None]`"
)
_PADS: Final = "write `np.pad(x, ((0, 0), (1, 2)))`, with mode=, or padding= and padding_mode= of `nn.Conv2d`"
_WINDOWS: Final = "write `np.lib.stride_tricks.sliding_window_view(x, n, axis)`, which has a gradient"
_SEQUENCES: Final = "there are no recurrent layers and no attention here; see docs/how_to/from_pytorch.md"
_JIT: Final = "write `jit(nn.ReLU())` for a model, or @jit above the function of a training step"
_DRAWN: Final = "draw numbers by NumPy, as in `np.random.default_rng(0)"

METHODS: Final[dict[str, str]] = {
    # shapes
    "view_as": "write `x.reshape(y.shape)`",
    "reshape_as": "write `x.reshape(y.shape)`",
    "unsqueeze": "write `x[None]` or `np.expand_dims(x, axis)`",
    "unflatten": "write `x.reshape(shape)`",
    "t": "write `x.T`",
    "adjoint": "write `x.mT`",
    "H": "write `x.T`",
    "mH": "write `x.mT`",
    "permute": "write `x.transpose(1, 0)`, with all axes",
    "swapdims": "write `x.swapaxes(0, 1)`",
    "movedim": "write `np.moveaxis(x, 0, -1)`",
    "expand": "write `np.broadcast_to(x, shape)`",
    "expand_as": "write `np.broadcast_to(x, y.shape)`",
    "repeat_interleave": "write `np.repeat(x, n, axis=axis)`",
    "chunk": "write `np.array_split(x, n, axis=axis)`",
    "tensor_split": "write `np.array_split(x, n, axis=axis)`",
    "split": "write `np.split(x, n, axis=0)`, with the number of parts and not their size",
    "unbind": "write `list(x)`, or `list(np.moveaxis(x, axis, 0))`",
    "narrow": "write a slice, as in `x[:, 0:2]`",
    "select": "write an index, as in `x[:, 0]`",
    "unfold": _WINDOWS,
    "contiguous": _LAYOUT,
    "is_contiguous": _LAYOUT,
    "as_strided": "a Tensor is no view of memory; write an index or `x.reshape(shape)`",
    # copies, dtypes, devices
    "clone": "write `x.copy()`",
    "to": "write `x.astype(np.float32)`; all Tensors are on the CPU",
    "type": "write `x.astype(np.float32)`, or `x.dtype`",
    "type_as": "write `x.astype(y.dtype)`",
    "float": "write `x.astype(np.float32)`",
    "double": "write `x.astype(np.float64)`",
    "half": "write `x.astype(np.float16)`",
    "bfloat16": "NumPy has no bfloat16; write `x.astype(np.float16)`",
    "int": "write `x.astype(np.int32)`",
    "long": "write `x.astype(np.int64)`",
    "short": "write `x.astype(np.int16)`",
    "char": "write `x.astype(np.int8)`",
    "byte": "write `x.astype(np.uint8)`",
    "bool": "write `x.astype(bool)`",
    "cpu": _CPU,
    "cuda": _CPU,
    "mps": _CPU,
    "xpu": _CPU,
    "is_cuda": _CPU,
    "get_device": _CPU,
    "pin_memory": _CPU,
    "share_memory_": "leave it out; threads share all memory",
    "new_zeros": "write `np.zeros(shape, x.dtype)`",
    "new_ones": "write `np.ones(shape, x.dtype)`",
    "new_empty": "write `np.empty(shape, x.dtype)`",
    "new_full": "write `np.full(shape, 7.0, x.dtype)`",
    "new_tensor": "write `Tensor(values, dtype=x.dtype)`",
    # what it is
    "dim": "write `x.ndim`",
    "ndimension": "write `x.ndim`",
    "numel": "write `x.size`",
    "nelement": "write `x.size`",
    "element_size": "write `x.itemsize`",
    "stride": "write `x.strides`",
    "data_ptr": "write `x.data.ctypes.data`",
    "is_floating_point": 'write `x.dtype.kind == "f"`',
    "is_same_size": "write `x.shape == y.shape`",
    # gradients
    "grad_fn": "`x.is_leaf` says whether there is one; x.graph() draws it",
    "retain_grad": "a hook sees the gradient of a result: write `x.register_hook(print)`",
    "register_post_accumulate_grad_hook": "write `x.register_hook(print)`",
    # indexing
    "at": "assign to a copy: `z = x.copy(); z[index] = 7.0`",
    "gather": "write `np.take_along_axis(x, indices, axis=axis)`",
    "take_along_dim": "write `np.take_along_axis(x, indices, axis=axis)`",
    "scatter": "assign to a copy: `z = x.copy(); z[index] = y[index]`",
    "scatter_add": "add to a copy: `z = x.copy(); z[index] = z[index] + y[index]`, each position once",
    "index_add": "add to a copy: `z = x.copy(); z[index] = z[index] + y[index]`, each position once",
    "index_copy": "assign to a copy: `z = x.copy(); z[index] = y[index]`",
    "index_put": "assign to a copy: `z = x.copy(); z[index] = y[index]`",
    "index_fill": "assign to a copy: `z = x.copy(); z[index] = 7.0`",
    "index_select": "write `np.take(x, index, axis=0)`",
    "masked_fill": "write `np.where(mask, 7.0, x)`",
    "masked_scatter": "assign to a copy: `z = x.copy(); z[mask] = y[mask]`",
    "masked_select": "write `x[mask]`",
    "where": "write `np.where(mask, x, y)`",
    "topk": "write `np.sort(x, axis=axis)[..., :-3:-1]` for the largest two, or `np.argsort(x, axis=axis)`",
    "kthvalue": "write `np.sort(x, axis=axis)[..., 0]` for the smallest",
    "argwhere": "write `np.argwhere(x.data > 0)`",
    # arithmetic
    "add": "write `x + y`",
    "sub": "write `x - y`",
    "mul": "write `x * y`",
    "div": "write `x / y`",
    "pow": "write `x**2`",
    "neg": "write `-x`",
    "eq": "write `x == y`",
    "ne": "write `x != y`",
    "lt": "write `x < y`",
    "le": "write `x <= y`",
    "gt": "write `x > y`",
    "ge": "write `x >= y`",
    "equal": "write `np.array_equal(x, y)`, or `x == y` for each element",
    "matmul": "write `x @ w`",
    "mm": "write `x @ w`",
    "mv": "write `x @ w[:, 0]`",
    "bmm": "write `x[None] @ w[None]`",
    "addmm": "write `b + x @ w`",
    "baddbmm": "write `b + x[None] @ w[None]`",
    "addcmul": "write `x + 0.5 * y * y`",
    "addcdiv": "write `x + 0.5 * y / y`",
    "ger": "write `np.outer(x, y)`",
    "rsqrt": "write `1 / np.sqrt(x)`",
    "clamp": "write `np.clip(x, 0.0, 1.0)`",
    "clamp_min": "write `np.maximum(x, 0)`",
    "clamp_max": "write `np.minimum(x, 1)`",
    "lerp": "write `x + 0.25 * (y - x)`",
    "frac": "write `x - np.trunc(x)`",
    "logit": "write `np.log(x / (1 - x))`",
    "sgn": "write `np.sign(x)`",
    "acos": "write `np.arccos(x)`",
    "asin": "write `np.arcsin(x)`",
    "atan": "write `np.arctan(x)`",
    "atan2": "write `np.arctan2(x, y)`",
    "acosh": "write `np.arccosh(1 + x)`",
    "asinh": "write `np.arcsinh(x)`",
    "atanh": "write `np.arctanh(x)`",
    "fix": "write `np.trunc(x)`",
    "softmax": "write `nn.functional.softmax(x, dim=-1)`",
    "log_softmax": "write `nn.functional.log_softmax(x, dim=-1)`",
    # linear algebra
    "norm": "write `np.linalg.norm(x)`",
    "dist": "write `np.linalg.norm(x - y)`",
    "det": "write `np.linalg.det(a)`",
    "logdet": "write `np.linalg.slogdet(a)[1]`",
    "slogdet": "write `np.linalg.slogdet(a)`",
    "inverse": "write `np.linalg.inv(a)`",
    "pinverse": "write `np.linalg.pinv(a)`",
    "cholesky": "write `np.linalg.cholesky(a)`",
    "qr": "write `np.linalg.qr(a)`",
    "svd": "write `np.linalg.svd(a)`",
    "matrix_power": "write `np.linalg.matrix_power(a, 2)`",
    # random numbers
    "bernoulli": f"{_DRAWN}.random(shape) < 0.5`",
    "multinomial": f"{_DRAWN}.choice(3, n)`",
}
"""For each method of PyTorch's Tensor that has another name here or is not there, what to write instead."""

IN_PLACE: Final[dict[str, str]] = {
    "zero_": "write `x.data[...] = 0`, or `x.grad = None` for a gradient",
    "fill_": "write `x.data[...] = 7.0`",
    "copy_": "write `x.data[...] = y.data`",
    "normal_": "write `nn.init.normal_(x)`",
    "uniform_": "write `nn.init.uniform_(x)`",
    "detach_": "write `x.detach()`",
    "add_": "write `x.data += y.data`",
    "sub_": "write `x.data -= y.data`",
    "mul_": "write `x.data *= y.data`",
    "div_": "write `x.data /= y.data`",
    "apply_": "write NumPy's functions of the whole Tensor, as in `np.exp(x)`",
    "random_": f"write `x.data[...] = {_DRAWN.split('`')[1]}.integers(0, 10, x.shape)`",
}
"""For methods that work in place in PyTorch, how values are changed without a gradient here."""

_NUMPYS: Final = """
absolute allclose amax amin angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh bincount bitwise_and
bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor broadcast_to ceil copysign
corrcoef cos cosh count_nonzero cov cross deg2rad diag diagflat diff divide dsplit erf exp2 expm1 flip
fliplr flipud float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside hsplit
hypot i0 inner isclose isfinite isinf isnan isneginf isposinf isreal kron lcm ldexp less less_equal log10
log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor lstsq maximum median minimum
moveaxis multiply nan_to_num nanmean nanmedian nanquantile nansum negative not_equal outer positive quantile
rad2deg reciprocal remainder roll rot90 sign signbit sin sinc sinh solve square subtract tan tile tril triu
true_divide trunc vdot vsplit xlogy
"""

NUMPY_METHODS: Final = frozenset(_NUMPYS.split())
"""Methods of PyTorch's Tensor that are functions of NumPy, of the same name."""

_OWN: Final = "abs clip cumprod cumsum exp log relu round sigmoid sqrt squeeze swapaxes tanh transpose"

OWN_METHODS: Final = frozenset(_OWN.split())
"""Methods that are here, and that PyTorch has in place as well."""

TOP_LEVEL: Final[dict[str, str]] = {
    "tensor": "write `Tensor(np.array(values, np.float32))`",
    "as_tensor": "write `Tensor(np.asarray(values, np.float32))`",
    "from_numpy": "write `Tensor(array)`, which shares the array's memory",
    "FloatTensor": "write `Tensor(np.array(values, np.float32))`",
    "LongTensor": "write `np.array(values, np.int64)`",
    "is_tensor": "write `isinstance(x, Tensor)`",
    "zeros": "write `np.zeros(shape, np.float32)`",
    "ones": "write `np.ones(shape, np.float32)`",
    "empty": "write `np.empty(shape, np.float32)`",
    "full": "write `np.full(shape, 7.0, np.float32)`",
    "eye": "write `np.eye(3, dtype=np.float32)`",
    "arange": "write `np.arange(6)`",
    "linspace": "write `np.linspace(0, 1, 5)`",
    "rand": f"{_DRAWN}.random(shape, np.float32)`",
    "rand_like": f"{_DRAWN}.random(x.shape, np.float32)`",
    "randn": f"{_DRAWN}.standard_normal(shape, np.float32)`",
    "randn_like": f"{_DRAWN}.standard_normal(x.shape, np.float32)`",
    "randint": f"{_DRAWN}.integers(0, 10, shape)`",
    "randperm": f"{_DRAWN}.permutation(n)`",
    "Generator": "write `np.random.default_rng(0)`",
    "seed": "write `nn.manual_seed(0)`",
    "cat": "write `np.concatenate([x, y], axis=axis)`",
    "float": "write `np.float32`",
    "double": "write `np.float64`",
    "half": "write `np.float16`",
    "bfloat16": "NumPy has no bfloat16; write `np.float16`",
    "int": "write `np.int32`",
    "long": "write `np.int64`",
    "bool": "write `np.bool_`",
    "Size": "a shape is a tuple, as in `x.shape`",
    "device": _CPU,
    "backends": _CPU,
    "get_default_dtype": "a dtype is that of the arrays, as in `np.zeros(shape, np.float32)`",
    "set_default_dtype": "a dtype is that of the arrays, as in `np.zeros(shape, np.float32)`",
    "set_num_threads": "write `training.set_threads(1)`",
    "enable_grad": "everything outside of `no_grad()` is recorded",
    "set_grad_enabled": "everything outside of `no_grad()` is recorded",
    "is_grad_enabled": "everything outside of `no_grad()` is recorded",
    "inference_mode": "write `no_grad()`",
    "autograd": "write x.backward(), or a transform: `grad`, `vjp`, `jvp`, `jacobian`, `hessian`; "
    "`detect_anomaly` and `testing.gradcheck` are there, too",
    "func": "the transforms are here itself: `grad`, `vjp`, `jvp`, `jacobian`, `hessian`",
    "jacrev": "write `jacobian(np.sin)`",
    "jacfwd": "write `jacobian(np.sin)`",
    "vmap": "give arrays another axis in front; NumPy's functions broadcast",
    "compile": _JIT,
    "utils": "`data.batches` is the DataLoader, `checkpoint` the checkpoint",
    "save": "write model.save(path), with the suffix .pt, .safetensors or .npz",
    "load": "write model.load(path), or exchange.load_weights(path); images and labels are read by data.load",
    "numpy": "import numpy as np: its functions take Tensors, as in `np.exp(x)`",
    "linalg": "write np.linalg, whose functions take Tensors, as in `np.linalg.inv(a)`",
    "fft": "there is no gradient of Fourier transforms; write np.fft of arrays",
    "special": "write `np.exp(x)` and the like; `op.REGISTRY` has erf, xlogy and softplus",
    "from_dlpack": "write Tensor(array), which takes arrays of PyTorch and JAX without a copy; those of "
    "others by `Tensor(np.from_dlpack(array))`",
}
"""For names at the top level of ``torch`` (and some of JAX), what to write; METHODS is looked into, too."""

MODULES: Final[dict[str, dict[str, str]]] = {
    "nn": {
        "utils": "gradients are clipped by `optim.clip_grad_norm_` and `optim.clip_grad_value_`",
        "Buffer": "write self.register_buffer(name, array)",
        "DataParallel": _CPU,
        "LazyLinear": "write `nn.Linear(3, 2)`, with the number of inputs",
        "parallel": _CPU,
        "Unfold": _WINDOWS,
        "Fold": 'write `op.REGISTRY["overlap_add"]`, which adds windows up where they overlap',
    },
    "nn.functional": {
        "normalize": "write `x / np.linalg.norm(x, axis=-1, keepdims=True)`",
        "pad": "write `np.pad(x, ((0, 0), (1, 2)))`",
        "unfold": _WINDOWS,
        "fold": 'write `op.REGISTRY["overlap_add"]`, which adds windows up where they overlap',
        "upsample": "it is `nn.functional.interpolate`",
        "logsigmoid": 'write `op.REGISTRY["log_sigmoid"](x)`',
        "scaled_dot_product_attention": "write `nn.functional.softmax(x @ y.T / np.sqrt(3), dim=-1) @ x`",
        "cosine_similarity": "write `np.sum(x * y, axis=-1)` over both norms, `np.linalg.norm(x, axis=-1)`",
        "pairwise_distance": "write `np.linalg.norm(x - y, axis=-1)`",
        "softmin": "write `nn.functional.softmax(-x, dim=-1)`",
    },
    "nn.init": {
        "eye_": "assign the values, as in `w.data[...] = np.eye(3, 2)`",
        "orthogonal_": "assign the values, as in `w.data[...] = np.linalg.qr(np.ones((3, 2)))[0]`",
        "trunc_normal_": "clip after drawing: `nn.init.normal_(w); w.data.clip(-2, 2, out=w.data)`",
        "sparse_": "assign the values, as in `w.data[...] = 0`",
        "dirac_": "assign the values, as in `w.data[...] = 0`",
    },
    "optim": {
        "lr_scheduler": _SCHEDULES,
        **dict.fromkeys(["Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "LBFGS", "Muon"], _OPTIMIZERS),
        **dict.fromkeys(["NAdam", "RAdam", "Rprop", "SparseAdam"], _OPTIMIZERS),
        "ReduceLROnPlateau": _SCHEDULES,
        "CosineAnnealingWarmRestarts": _SCHEDULES,
        "ChainedScheduler": _SCHEDULES,
        "swa_utils": "average the arrays of model.state_dict() yourself",
    },
}
"""For names in PyTorch's modules, what to write, by the module's name here."""

FAMILIES: Final[dict[tuple[str, ...], str]] = {
    ("Conv", "LazyConv", "conv"): _CONVOLUTIONS,
    ("MaxPool", "AvgPool", "Adaptive", "LPPool", "FractionalMaxPool"): _POOLS,
    ("max_pool", "avg_pool", "adaptive_", "lp_pool", "fractional_max_pool"): _POOLS,
    ("MaxUnpool", "max_unpool"): "the pools do not return indices; `nn.Upsample` makes images larger",
    ("Upsampling",): "write `nn.Upsample(scale_factor=2)`, with mode=",
    ("BatchNorm", "LazyBatchNorm"): "there are `nn.BatchNorm1d` and `nn.BatchNorm2d`",
    ("InstanceNorm", "instance_norm"): "write `nn.GroupNorm(6, 6, affine=False)`, a group for each channel",
    ("Dropout", "dropout"): "`nn.Dropout2d` drops channels, whatever axes are behind them",
    ("PixelShuffle", "PixelUnshuffle", "pixel_"): "write `x.reshape(shape)` and `np.transpose(x, (1, 0))`",
    ("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"): _PADS,
    ("RNN", "LSTM", "GRU", "Transformer", "MultiheadAttention"): _SEQUENCES,
}
"""For the first letters of layers and functions that are not here, why."""

KEYWORDS: Final[dict[str, str]] = {
    "dim": "the option is called axis here, as in NumPy: axis=1",
    "dims": "the option is called axis here, as in NumPy: axis=(0, 1)",
    "dim0": "the axes are called axis1 and axis2 here, as in NumPy, or are given without a name",
    "dim1": "the axes are called axis1 and axis2 here, as in NumPy, or are given without a name",
    "dim2": "the axes are called axis1 and axis2 here, as in NumPy, or are given without a name",
    "keepdim": "the option is called keepdims here, as in NumPy: keepdims=True",
    "unbiased": "NumPy's option is ddof: `x.var(axis=0, ddof=1)` divides by n - 1, ddof=0 by n",
    "start_dim": "write `x.reshape(len(x), -1)`",
    "end_dim": "write `x.reshape(len(x), -1)`",
    "descending": "write `np.flip(np.argsort(x, axis=-1), -1)`",
}
"""For keyword arguments of PyTorch's methods, what to write instead."""

_MODULE_DTYPE: Final = "write `nn.Linear(3, 2).astype(np.float64)`"

MODULE_METHODS: Final[dict[str, str]] = {
    **dict.fromkeys(["cpu", "cuda", "mps", "xpu", "ipu", "to_empty"], _CPU),
    "to": f"leave it out: all Tensors are on the CPU; for another dtype {_MODULE_DTYPE}",
    **dict.fromkeys(["type", "double", "float"], _MODULE_DTYPE),
    "half": "write `nn.Linear(3, 2).astype(np.float16)`",
    "bfloat16": "NumPy has no bfloat16; write `nn.Linear(3, 2).astype(np.float16)`",
    "share_memory": "leave it out; threads share all memory",
    "compile": _JIT,
    "get_parameter": 'write `dict(nn.Linear(3, 2).named_parameters())["weight"]`',
    "get_buffer": 'write `dict(nn.BatchNorm1d(3).named_buffers())["running_mean"]`',
    "get_submodule": 'write `dict(nn.Sequential(nn.ReLU()).named_modules())["0"]`',
}
"""For methods of PyTorch's Module that are not here, what to write instead."""

LAYER_KEYWORDS: Final[dict[str, str]] = {
    "device": _CPU,
    "inplace": "leave it out: nothing works in place here",
    **dict.fromkeys(["size_average", "reduce"], 'write reduction="mean", "sum" or "none"'),
}
"""For options of PyTorch's layers and losses that are not here, what to write instead."""

OPTIMIZER_KEYWORDS: Final[dict[str, str]] = dict.fromkeys(
    ["foreach", "fused", "capturable", "differentiable"],
    "leave it out: in PyTorch it changes how a step is computed, and not what comes out",
)
"""For options of PyTorch's optimisers that are not here, what to write instead."""


class PyTorchMethod:
    """An attribute that Tensors do not have: to ask for it is an AttributeError that says what to write.

    Not ``__getattr__``, with which Python 3.11 looks up every attribute of a class twice as long.

    Parameters
    ----------
    name : str
        The name of the method in PyTorch.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, tensor: Any, kind: type) -> NoReturn:
        raise AttributeError(
            f"{kind.__name__!r} object has no attribute {self.name!r}{_method_advice(self.name)}",
            name=self.name,
            obj=kind if tensor is None else tensor,
        )


class PyTorchNames:
    """The base of Tensor, with the methods of PyTorch's that Tensors do not have, as errors.

    A base, so that what Tensor defines itself comes first, and that ``help(Tensor)`` lists these names apart.
    """

    __slots__ = ()

    def __dir__(self) -> list[str]:
        kind = type(self)  # looked at and not asked, as a property such as T runs an operation
        names = object.__dir__(self)
        return [n for n in names if not isinstance(getattr_static(kind, n, None), PyTorchMethod)]


PYTORCH_METHODS: Final = {
    *METHODS, *NUMPY_METHODS, *IN_PLACE, *(f"{name}_" for name in {*METHODS, *NUMPY_METHODS, *OWN_METHODS}),
}  # fmt: skip
"""All methods of PyTorch's that are told of."""

for _name in PYTORCH_METHODS:
    setattr(PyTorchNames, _name, PyTorchMethod(_name))


def missing_name(module: str, name: str) -> Exception:
    """Return the error for a name that a module of this package does not have.

    It is an AttributeError, so that ``hasattr`` is False; in ``from module import name``, which would replace
    the message of that by one of its own, an ImportError.
    """
    own = module.removeprefix("tinygrad_mnist").removeprefix(".")
    advice = "" if name.startswith("_") else _module_advice(own, name)
    message = f"module {module!r} has no attribute {name!r}{advice}"
    if advice and _is_import(sys._getframe(2)):
        return ImportError(message, name=module)
    return AttributeError(message, name=name, obj=sys.modules.get(module))


def keyword_advice(keywords: Iterable[str]) -> str | None:
    """Return what to write instead of the first keyword argument that is PyTorch's, None if there is none."""
    return next((f"{name}=: {KEYWORDS[name]}" for name in keywords if name in KEYWORDS), None)


def module_method_advice(name: str) -> str:
    """Return what to write instead of a method of PyTorch's Module, after a semicolon."""
    return f"; {MODULE_METHODS[name]}" if name in MODULE_METHODS else ""


def with_keyword_advice(
    advice: Mapping[str, str],
) -> Callable[[Callable[Inputs, Output]], Callable[Inputs, Output]]:
    """Decorate a function: its error for a keyword argument that it does not have says what to write."""

    def decorate(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
        @wraps(function)
        def called(*inputs: Inputs.args, **options: Inputs.kwargs) -> Output:
            for name in options:
                if name in advice:
                    raise unexpected_keyword(function.__name__, name, advice)
            return function(*inputs, **options)

        return called

    return decorate


def unexpected_keyword(called: str, name: str, advice: Mapping[str, str]) -> TypeError:
    """Return the error for a keyword argument that is not there, with what to write."""
    return TypeError(f"{called}() got an unexpected keyword argument {name!r}; {advice[name]}")


class MissingModules:
    """A finder for the modules of PyTorch's that are not here: its error says what to write.

    It stands last among the finders of Python's imports, so that it is asked for what no other found.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """Raise for a module of PyTorch's; return None for any other."""
        package, _, own = name.partition(".")
        place, _, last = own.rpartition(".")
        if package == "tinygrad_mnist" and own:
            advice = TOP_LEVEL.get(last) if not place else MODULES.get(place, {}).get(last)
            if advice:
                raise ModuleNotFoundError(f"No module named {name!r}; {advice}", name=name)


sys.meta_path.append(MissingModules)  # a class with find_spec is a finder


def _is_import(frame: FrameType) -> bool:
    """Return whether a frame is about to take a name out of a module, in ``from module import name``."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"


def _method_advice(name: str) -> str:
    """Return what to write instead of a method, after a semicolon; nothing if it is not known."""
    if name in METHODS:
        return f"; {METHODS[name]}"
    if name.endswith("_"):
        advice = IN_PLACE.get(name, "write the result into `x.data[...]`")
        return f"; nothing works in place here: {advice}"
    return _numpy_advice(name, "(x)")


def _numpy_advice(name: str, call: str) -> str:
    """Return NumPy's function of a name, or our operation."""
    found = getattr(np, name, None)
    if isinstance(found, type) and issubclass(found, np.generic):
        return f"; write `np.{name}`"
    if found in FUNCTIONS or found in UFUNCS:
        return f"; write np.{name}{call}"
    if getattr(np.linalg, name, None) in FUNCTIONS:
        return f"; write np.linalg.{name}{call}"
    return f'; write `op.REGISTRY["{name}"]{call}`' if name in REGISTRY else ""


def _module_advice(own: str, name: str) -> str:
    """Return what to write instead of a name in the module ``own``, after a semicolon."""
    if advice := MODULES.get(own, {}).get(name):
        return f"; {advice}"
    if not own and name in TOP_LEVEL:
        return f"; {TOP_LEVEL[name]}"
    for place in ("nn", "nn.functional", "nn.init", "optim", "data"):  # a name that is only elsewhere
        if place != own and name in _public(place):
            return f"; it is `{place}.{name}`"
    if own and name in sys.modules["tinygrad_mnist"].__all__:
        return f"; it is `tinygrad_mnist.{name}`"
    if not own:
        return _method_advice(name)
    if own == "nn.init" and f"{name}_" in _public(own):
        return f"; it is `nn.init.{name}_`"
    if own == "optim" and name.endswith("LR"):
        return f"; {_SCHEDULES}"
    for beginnings, advice in FAMILIES.items():
        if name.startswith(beginnings):
            return f"; {advice}"
    return _method_advice(name) if own == "nn.functional" else _similar(own, name)


def _public(place: str) -> list[str]:
    """Return the public names of a part of the package; none if it is not loaded."""
    names: list[str] = getattr(sys.modules.get(f"tinygrad_mnist.{place}"), "__all__", [])
    return names


def _similar(own: str, name: str) -> str:
    import difflib  # only for errors, and not with every start

    close = difflib.get_close_matches(name, _public(own), 1, 0.8)
    return f"; did you mean {close[0]!r}?" if close else ""
