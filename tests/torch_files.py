"""Files as PyTorch writes them, made without it: the pickles by their opcodes, the storages as raw numbers."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np

KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class _Global:
    """Pickles as the name of something in a module that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Call:
    """Pickles as a call of a global."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class _Persistent:
    def __init__(self, pid):
        self.pid = pid


class _Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Persistent) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Global):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def _pickled(value) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def _tensors(value, storages, legacy):
    """`value` with arrays replaced by what rebuilds them from storages, which are appended to `storages`."""
    if isinstance(value, np.ndarray):
        key, kind = str(len(storages)), _Global("torch", KINDS[value.dtype.name])
        storages.append(value)
        strides = tuple(stride // value.itemsize for stride in value.strides)
        return _rebuilt((key, "cpu", value.size, *([None] if legacy else [])), kind, value.shape, strides)
    if isinstance(value, View):
        key = str(next((n for n, known in enumerate(storages) if known is value.values), len(storages)))
        storages += [value.values] * (int(key) == len(storages))
        return _rebuilt((key, "cpu", value.count), _Global("torch", "FloatStorage"), value.shape, value.strides)
    if isinstance(value, dict):
        return {key: _tensors(entry, storages, legacy) for key, entry in value.items()}
    return value


class View:
    """A tensor of any shape and strides, and a storage of any count, over an array of float32, in a ZIP archive."""

    def __init__(self, values, shape, strides, count=None):
        self.values, self.shape, self.strides = values, shape, strides
        self.count = values.size if count is None else count


def _rebuilt(place, kind, shape, strides):
    rebuild = _Global("torch._utils", "_rebuild_tensor_v2")
    attributes = _Call(_Global("collections", "OrderedDict"))
    return _Call(rebuild, _Persistent(("storage", kind, *place)), 0, shape, strides, False, attributes)


def zip_file(value, compression=zipfile.ZIP_STORED) -> bytes:
    storages: list[np.ndarray] = []
    data = _pickled(_tensors(value, storages, legacy=False))
    return _archive(data, storages, compression)


def keyed_zip_file(key) -> bytes:
    """A dictionary with a key that takes as long to hash as to copy: written without making the dictionary."""
    return _archive(b"\x80\x02}" + _pickled(key)[2:-1] + b"Ns.", [], zipfile.ZIP_STORED)


def _archive(data: bytes, storages: list[np.ndarray], compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for key, values in enumerate(storages):
            archive.writestr(f"archive/data/{key}", values.tobytes())
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy_file(value) -> bytes:
    storages: list[np.ndarray] = []
    data = _pickled(_tensors(value, storages, legacy=True))
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [_pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [data, _pickled([str(key) for key in range(len(storages))])]
    return b"".join(parts) + b"".join(struct.pack("<q", values.size) + values.tobytes() for values in storages)


def safetensors_file(value) -> bytes:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, values in value.items():
        kind = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}[values.dtype.name]
        raw = values.tobytes()
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    return with_header(json.dumps(header).encode(), body)


def with_header(header: bytes, body: bytes = b"123") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


WRITERS = {"zip": zip_file, "legacy": legacy_file, "safetensors": safetensors_file}
evil = _Call(_Global("os", "system"), "touch pwned")
