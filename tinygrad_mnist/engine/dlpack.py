"""DLPack: how other libraries take the memory of a Tensor's values, without a copy.

The protocol is that of the array API standard (2024.12, ``array.__dlpack__``). Its later version has a flag
for read-only memory, which PyTorch 2.13 asks for and then ignores. So read-only values are never shared.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import numpy as np

CPU: Final = (1, 0)
"""DLPack's name of the device of all Tensors: kDLCPU, number 0."""


def dlpack_capsule(
    array: Any,
    stream: Any,
    max_version: tuple[int, int] | None,
    dl_device: tuple[int, int] | None,
    copy: bool | None,
) -> Any:
    """Return the capsule by which another library takes an array.

    Parameters
    ----------
    array : ndarray
        The values.
    stream : object
        None, as the CPU has no streams.
    max_version : tuple of int, optional
        The highest version of DLPack that the other library knows.
    dl_device : tuple of int, optional
        The device that it wants the values on.
    copy : bool, optional
        Whether it wants a copy. None copies only what cannot be shared: numbers in another byte order, and
        axes that run backwards, which some libraries do not check.

    Returns
    -------
    PyCapsule

    Raises
    ------
    BufferError
        If this cannot be done.
    """
    if stream is not None:
        raise BufferError(f"stream {stream!r} was asked for; the values are on the CPU, which has no streams")
    if dl_device is not None and tuple(dl_device) != CPU:
        raise BufferError(
            f"the device {dl_device} was asked for; all Tensors are on the CPU, {CPU} in DLPack"
        )
    if array.dtype.char == "g":
        raise BufferError(f"DLPack has no {array.dtype}; convert it first, as in t.astype(np.float64)")
    if copy or not (array.dtype.isnative and all(stride >= 0 for stride in array.strides)):
        if copy is False:
            raise BufferError(
                f"an array of {array.dtype} and strides {array.strides} cannot be shared without a copy; "
                "leave out copy=False"
            )
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    elif not array.flags.writeable:
        raise BufferError(
            f"a Tensor of shape {array.shape} has read-only values, into which another library could write: "
            "they are those of a recorded result, a view of another Tensor's, or of a read-only array. Ask "
            "for a copy, as in np.from_dlpack(t, copy=True) or t.copy(); np.asarray(t) reads them"
        )
    return np.ndarray.__dlpack__(array, max_version=max_version)


def raise_loses_gradient(shape: tuple[int, ...], is_leaf: bool) -> NoReturn:
    """Raise for a Tensor that requires a gradient; say what can be given in its place."""
    instead = (
        "give t.detach(), a copy, or t.data, which shares its memory: a write there is noticed by the tape "
        "only after t.mark_written()"
        if is_leaf
        else "give t.detach().copy()"
    )
    raise BufferError(
        f"a Tensor of shape {shape} requires a gradient, which another library would lose; {instead}"
    )
