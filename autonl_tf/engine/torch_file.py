"""PyTorch's files without PyTorch: tensors out of `torch.save` files, old and new, and of safetensors.

`torch.save` writes a pickle, and a pickle can run any program. This reader builds containers, numbers and tensors and
nothing else: any other name in the file is refused, and named. Sources: the file layouts of PyTorch 1.4 (one stream:
four pickles, then the storages) and 1.6 (a ZIP archive: data.pkl and one file a storage), and of safetensors 0.4.
"""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autonl_tf.errors import UserError

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
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}
_MOST_HEADER = 100_000_000


class _Storage:
    """Numbers that tensors are views of; a legacy file gives them after the tensors."""

    def __init__(self, dtype: str, count: int):
        self.dtype, self.count, self.data = np.dtype(dtype), count, None


class _View:
    """A tensor until the storages are there: element (i, j, ...) is data[offset + i * stride_0 + j * stride_1 ...]."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def array(self) -> np.ndarray:
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or (0 not in self.shape and last >= self.storage.count):
            raise ValueError("a tensor reaches beyond its storage")
        data, size = self.storage.data, self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, [size * stride for stride in self.strides], writeable=False
        )
        return np.array(view)


def _rebuild(storage, offset, shape, strides, *_):
    return _View(storage, offset, shape, strides)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storage_of: Callable[..., _Storage]):
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it holds {module}.{name}, which is no tensor; save the state_dict alone")
        return _ALLOWED[(module, name)]

    def persistent_load(self, pid):
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or storage not in _STORAGES or (view and view[0] is not None):
            raise ValueError(f"it holds a storage of a kind that is not read: {pid!r}")
        return self._storage_of(str(key), _STORAGES[storage], int(count))


def read_torch(path: str | Path) -> Any:
    """What a file of `torch.save` or of safetensors holds, tensors as NumPy arrays.

    Raises:
      UserError: it cannot be read, is of another kind, is cut short, or holds more than tensors and containers.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        if data[:4] == b"PK\x03\x04":
            found = _read_zip(data)
        elif len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
            return _read_safetensors(data)
        else:
            found = _read_legacy(io.BytesIO(data))
        return _arrays(found)
    except Exception as error:  # damaged bytes make pickle, zipfile and its decompressors raise nearly anything
        raise UserError(f"{path}: not a file of PyTorch tensors that can be read: {_said(error)}") from None


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read_zip(data: bytes) -> Any:
    storages: dict[str, _Storage] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("an archive without a data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")

        def storage_of(key: str, dtype: str, count: int) -> _Storage:
            if key not in storages:
                storage = _Storage(dtype, count)
                storage.data = _numbers(archive.read(f"{folder}data/{key}"), storage)
                storages[key] = storage
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage_of).load()


def _numbers(raw: bytes, storage: _Storage) -> np.ndarray:
    if len(raw) < storage.count * storage.dtype.itemsize:
        raise ValueError("a storage is cut short")
    return np.frombuffer(raw, storage.dtype, storage.count)


def _read_legacy(file: io.BytesIO) -> Any:
    storages: dict[str, _Storage] = {}

    def storage_of(key: str, dtype: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, count))

    def load() -> Any:
        return _Unpickler(file, storage_of).load()

    if load() != _LEGACY_MAGIC:
        raise ValueError("not written by torch.save")
    load()  # the protocol's number
    system = load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    found, keys = load(), load()
    for key in keys:
        storage = storages[str(key)]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} numbers instead of {storage.count}")
        storage.data = _numbers(file.read(count * storage.dtype.itemsize), storage)
    return found


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > _MOST_HEADER:
        raise ValueError("a header that is too long")
    header, body, found = json.loads(data[8 : 8 + length]), data[8 + length :], {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = np.frombuffer(body[begin:end], _SAFETENSORS[entry["dtype"]])
        found[name] = values.reshape(entry["shape"])
    return found


def _arrays(found: Any) -> Any:
    if isinstance(found, _View):
        return found.array()
    if isinstance(found, dict):
        return {key: _arrays(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_arrays(value) for value in found]
    return found
