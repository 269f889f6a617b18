"""PyTorch's files without PyTorch: tensors out of `torch.save` files, old and new, and of safetensors.

`torch.save` writes a pickle, and a pickle can run any program. This reader makes containers, numbers and tensors of it
and nothing else: any other name in the file is refused, and named. What it makes is not larger than the file allows:
tensors are views of the values that the file holds, a shared container is made once, and what a file of a few bytes
could blow up (compressed members, a value used in many positions of a tensor, keys that are containers) is refused.
Sources: the file layouts of PyTorch 1.4 (one stream: four pickles, then the storages) and 1.6 (a ZIP archive: data.pkl
and one file a storage), and of safetensors 0.4.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from autonl_tf.checkpoint.matching import Stored, of_arrays
from autonl_tf.errors import UserError

# Stated limits. A state dictionary of AutoNL-L is 23 MB, in 5 thousand operations and a header of 60 KB.
MOST_BYTES = 2 << 30
MOST_OPERATIONS = 1_000_000
MOST_HEADER = 10_000_000
MOST_SHARING = 8  # values in tensors for each value stored: two names may share a storage, not thousands

_STATES = ("model", "state_dict")
_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_COUNTER = ".num_batches_tracked"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_CALLED = ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter")
_NAMED = {*_CALLED, *(f"torch.{name}" for name in _STORAGES)}
# What an operation of a pickle that carries a value leaves behind.
_VALUES = (
    *(pickletools.pyint, pickletools.pyinteger_or_bool, pickletools.pyfloat),
    *(pickletools.pybytes, pickletools.pybytes_or_str, pickletools.pyunicode),
)


class _Entry(msgspec.Struct):
    """A tensor of a safetensors header: bytes `begin` to `end` behind the header."""

    dtype: Literal["F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8"]
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], int]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63


class _Storage:
    """Numbers that tensors are views of; a legacy file gives them after the tensors."""

    def __init__(self, dtype: str, count: int):
        self.dtype, self.count, self.data = np.dtype(dtype), count, None


class _Tensor:
    """A tensor until the storages are there: element (i, j, ...) is data[offset + i * stride_0 + j * stride_1 ...]."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any):
        if len(shape) != len(strides) or len(shape) > 32 or not all(map(_is_size, (offset, *shape, *strides))):
            raise ValueError("a tensor without offset, shape and strides")
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)
        self.size = math.prod(self.shape)

    def view(self) -> np.ndarray:
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.size and last >= self.storage.count:
            raise ValueError("a tensor reaches beyond its storage")
        data, size = self.storage.data, self.storage.dtype.itemsize
        return np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, [size * stride for stride in self.strides], writeable=False
        )


def read_state(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """The state dictionary of a file, by itself or as its entry `model` or `state_dict`, and which, for people.

    Raises:
      UserError: as `read_torch`; there is none.
    """
    found = read_torch(path)
    for key in (None, *_STATES):
        state = found if key is None else found.get(key) if isinstance(found, dict) else None
        if (
            isinstance(state, dict)
            and state
            and all(isinstance(name, str) and isinstance(value, np.ndarray) for name, value in state.items())
        ):
            return state, "" if key is None else f" ({key!r} in it)"
    held = ", ".join(map(_shown, found)) if isinstance(found, dict) else type(found).__name__
    raise UserError(f"{path}: holds no state dictionary, by itself or as {' or '.join(_STATES)}; it holds {held}")


def laid_out(ours: str, value: np.ndarray) -> np.ndarray:
    """A tensor as our variable of that name has it, float32.

    [out, in, kh, kw] becomes [kh, kw, in, out]; a depthwise kernel [C, 1, kh, kw] becomes [kh, kw, C, 1]; a dense one
    is transposed.
    """
    with np.errstate(over="ignore"):
        value = np.asarray(value, np.float32)
    if ours.endswith("depthwise_kernel") and value.ndim == 4:
        return value.transpose(2, 3, 0, 1)
    if ours.endswith("/kernel"):
        return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return value


def norm(ours: str, theirs: str) -> list[tuple[str, str]]:
    """(our variable, PyTorch's) of a batch norm."""
    return [(f"{ours}/{leaf}", f"{theirs}.{other}") for leaf, other in _BATCH_NORM.items()]


def conv_norm(ours: str, convolution: str, behind: str) -> list[tuple[str, str]]:
    """(our variable, PyTorch's) of a convolution and the batch norm behind it."""
    kernel = "/depthwise_kernel" if ours.endswith("depthwise") else "_conv/kernel"
    return [(f"{ours}{kernel}", f"{convolution}.weight"), *norm(f"{ours}_bn", behind)]


def stored_under(
    path: str, state: Mapping[str, np.ndarray], pairs: Mapping[str, str], scales: Mapping[str, float]
) -> Stored:
    """The tensors of `state` under our variables' names, by `pairs` of ours and theirs, some times `scales`; counters
    of batches are passed over."""
    arrays = {ours: laid_out(ours, state[theirs]) for ours, theirs in pairs.items() if theirs in state}
    arrays |= {ours: arrays[ours] * np.float32(scale) for ours, scale in scales.items() if ours in arrays}
    known = set(pairs.values())
    others = [key for key in state if key not in known and not key.endswith(_COUNTER)]
    return of_arrays(
        path, arrays, unexpected={key: state[key].shape for key in others}, label=lambda ours: pairs.get(ours, ours)
    )


def _shown(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() else repr(key)


def read_torch(path: str | Path) -> Any:
    """What a file of `torch.save` or of safetensors holds, tensors as NumPy arrays that cannot be written to.

    Raises:
      UserError: it cannot be read, is of another kind, is cut short, holds more than tensors and containers, or is
        beyond a limit (`MOST_...`).
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"{path}: has {size} bytes; accepted: at most {MOST_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        if data[:4] == b"PK\x03\x04":
            return _read_zip(data)
        if len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
            return _read_safetensors(data)
        return _read_legacy(io.BytesIO(data))
    except Exception as error:  # damaged bytes make pickletools and zipfile raise nearly anything
        raise UserError(f"{path}: not a file of PyTorch tensors that can be read: {error}") from None


def _load(file: io.BytesIO, storage_of: Callable[[str, str, int], _Storage]) -> Any:
    """The next pickle of `file`: containers, numbers, text, and `_Tensor`s. Tells what else is in it by ValueError."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def taken(start: int) -> list[Any]:
        found = stack[start:]
        del stack[start:]
        return found

    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MOST_OPERATIONS:
            raise ValueError(f"a pickle of more than {MOST_OPERATIONS} operations")
        match opcode.name:
            case "STOP":
                return stack.pop()
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                marks.append(len(stack))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append([])
            case "LIST" | "TUPLE":
                stack.append(taken(marks.pop()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(taken(-int(opcode.name[-1])))
            case "APPEND" | "APPENDS":
                values = taken(-1 if opcode.name == "APPEND" else marks.pop())
                stack[-1].extend(values)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_set({}, taken(marks.pop())))
            case "SETITEM" | "SETITEMS":
                items = taken(-2 if opcode.name == "SETITEM" else marks.pop())
                _set(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_named(module, name))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_called(stack.pop(), arguments))
            case "BUILD":  # attributes, such as the versions beside a state dictionary
                stack.pop()
            case "BINPERSID":
                stack.append(_stored(stack.pop(), storage_of))
            case _ if argument is not None and opcode.stack_after and opcode.stack_after[0] in _VALUES:
                stack.append(argument)
            case other:
                raise ValueError(f"it holds more than tensors and containers: {other}")
    raise ValueError("it is cut short")


def _set(target: dict, items: list[Any]) -> dict:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | None):
            raise ValueError("a key that is a container")
        target[key] = value
    return target


def _named(module: str, name: str) -> str:
    if f"{module}.{name}" not in _NAMED:
        raise ValueError(f"it holds {module}.{name}, which is no tensor; save the state_dict alone")
    return f"{module}.{name}"


def _called(function: str, arguments: list[Any]) -> Any:
    if function == "collections.OrderedDict" and not arguments:
        return {}
    if function == "torch._utils._rebuild_tensor_v2":
        return _Tensor(*arguments)
    if function == "torch._utils._rebuild_parameter":
        return arguments[0]
    raise ValueError("it calls what makes no tensor")


def _stored(pid: list[Any], storage_of: Callable[[str, str, int], _Storage]) -> _Storage:
    kind, storage, key, _, count, *view = pid
    dtype = _STORAGES.get(storage.removeprefix("torch."))
    if kind != "storage" or not dtype or not isinstance(key, str) or not _is_size(count) or view not in ([], [None]):
        raise ValueError("it holds a storage of a kind that is not read")
    return storage_of(key, dtype, count)


def _read_zip(data: bytes) -> Any:
    storages: dict[str, _Storage] = {}
    left = len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:

        def read(name: str) -> bytes:
            nonlocal left
            member = archive.getinfo(name)
            left -= member.file_size
            if member.compress_type != zipfile.ZIP_STORED or left < 0:
                raise ValueError(f"{name} in it is compressed or larger than the file; torch.save only stores")
            return archive.read(member)

        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("an archive without a data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and read(f"{folder}byteorder") != b"little":
            raise ValueError("its values are big-endian")

        def storage_of(key: str, dtype: str, count: int) -> _Storage:
            if key not in storages:
                storages[key] = storage = _Storage(dtype, count)
                storage.data = _numbers(read(f"{folder}data/{key}"), storage)
            return storages[key]

        return _arrays(_load(io.BytesIO(read(pickles[0])), storage_of), storages)


def _numbers(raw: bytes, storage: _Storage) -> np.ndarray:
    if len(raw) < storage.count * storage.dtype.itemsize:
        raise ValueError("a storage is cut short")
    return np.frombuffer(raw, storage.dtype, storage.count)


def _read_legacy(file: io.BytesIO) -> Any:
    storages: dict[str, _Storage] = {}

    def storage_of(key: str, dtype: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, count))

    def load() -> Any:
        return _load(file, storage_of)

    if load() != _LEGACY_MAGIC:
        raise ValueError("not written by torch.save")
    load()  # the protocol's number
    system = load()
    if not system.get("little_endian", True):
        raise ValueError("its values are big-endian")
    found, keys = load(), load()
    for key in keys:
        storage = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} values instead of {storage.count}")
        storage.data = _numbers(file.read(count * storage.dtype.itemsize), storage)
    return _arrays(found, storages)


def _arrays(found: Any, storages: dict[str, _Storage]) -> Any:
    """`found` with arrays for its tensors; what is in it several times is converted once.

    Raises:
      ValueError: the tensors hold many times the values that are stored.
    """
    left = MOST_SHARING * sum(storage.count for storage in storages.values())
    made: dict[int, Any] = {}

    def convert(value: Any) -> Any:
        nonlocal left
        if not isinstance(value, _Tensor | dict | list):
            return value
        if id(value) in made:
            return made[id(value)]
        if isinstance(value, _Tensor):
            left -= value.size
            if value.size > value.storage.count or left < 0:
                raise ValueError("its tensors hold many times the values that are stored")
            return made.setdefault(id(value), value.view())
        if isinstance(value, dict):
            into = made[id(value)] = {}
            into.update((key, convert(entry)) for key, entry in value.items())
        else:
            into = made[id(value)] = []
            into.extend(map(convert, value))
        return into

    return convert(found)


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > MOST_HEADER:
        raise ValueError(f"a header of {length} bytes; accepted: at most {MOST_HEADER}")
    header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
    header.pop("__metadata__", None)
    entries = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in header.items()}
    body, end, found = memoryview(data)[8 + length :], 0, {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, after = entry.data_offsets
        if begin != end:
            raise ValueError(f"the bytes of {name} do not follow those of the tensor before")
        end = after
        kind, bits = entry.dtype[0].lower(), int(entry.dtype[1:])
        found[name] = np.frombuffer(body[begin:end], f"<{kind}{bits // 8}").reshape(entry.shape)
    return {name: found[name] for name in entries}
