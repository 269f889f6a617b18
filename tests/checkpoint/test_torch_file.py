"""Files of PyTorch: read to the number, and never run."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch_files
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.checkpoint import torch_file
from autonl_tf.checkpoint.torch_file import read_torch
from autonl_tf.errors import UserError

RNG = np.random.default_rng(0)
STATE = {
    "features.0.weight": RNG.normal(size=[4, 3, 3, 3]).astype(np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "half": RNG.normal(size=[5]).astype(np.float16),
    "empty": np.zeros([0, 2], np.float64),
}


@pytest.mark.parametrize("kind", torch_files.WRITERS)
def test_every_tensor_is_read_to_the_number(kind, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(torch_files.WRITERS[kind](STATE))
    found = read_torch(path)
    assert found.keys() == STATE.keys()
    for name, values in STATE.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_containers_around_the_state_are_kept(kind, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(torch_files.WRITERS[kind]({"epoch": 3, "model": STATE, "history": [0.5, "x", None]}))
    found = read_torch(path)
    assert (found["epoch"], found["history"]) == (3, [0.5, "x", None])
    np.testing.assert_array_equal(found["model"]["half"], STATE["half"])


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_program_in_the_file_is_refused_and_not_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    path.write_bytes(torch_files.WRITERS[kind]({"model": torch_files.evil}))
    with pytest.raises(UserError, match=r"evil\.pt: .*it holds os\.system, which is no tensor"):
        read_torch(path)
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pt"]


@settings(max_examples=150)
@given(kind=st.sampled_from(sorted(torch_files.WRITERS)), data=st.data())
def test_a_damaged_file_is_read_or_refused(kind, data, tmp_path_factory):
    whole = torch_files.WRITERS[kind](STATE)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(damaged)
    try:
        read_torch(path)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [(10, 8, "compressed"), (10, 12, "compressed"), (6, 100, "version 10.0"), (8, 1, "encrypted")],
)
def test_an_archive_with_a_damaged_directory_is_refused(field, value, said, tmp_path):
    data = bytearray(torch_files.zip_file(STATE))
    entry = data.find(b"PK\x01\x02")
    while entry >= 0:
        data[entry + field] = value
        entry = data.find(b"PK\x01\x02", entry + 1)
    path = tmp_path / "damaged.pt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"damaged\.pt: not a file of PyTorch tensors.*{said}|{said}.*PyTorch tensors"):
        read_torch(path)


def shared(empty, times):
    """A container of twice a container of twice ...: a few bytes in a file, 2 ** times of them when it is copied."""
    for _ in range(times):
        empty = type(empty)((empty, empty))
    return empty


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_shared_container_is_made_once(kind, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(torch_files.WRITERS[kind]({"history": shared([], 60)}))
    found = read_torch(path)["history"]
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]


ONE = np.zeros([1], np.float32)
HUGE = 1 << 40
BOMBS = {
    "a key that is a container": lambda: torch_files.keyed_zip_file(shared((), 60)),
    "a number used everywhere": lambda: torch_files.zip_file({"w": torch_files.View(ONE, (HUGE, HUGE), (0, 0))}),
    "many times the values that are stored": lambda: torch_files.zip_file(
        {str(n): torch_files.View(ONE, (1,), (1,)) for n in range(9)}
    ),
    "a shape of text": lambda: torch_files.zip_file({"w": torch_files.View(ONE, ("a", HUGE), (0, 0))}),
    "a shape of many sides": lambda: torch_files.zip_file({"w": torch_files.View(ONE, [HUGE] * 999, [0] * 999)}),
    "a compressed member": lambda: torch_files.zip_file({"w": np.zeros([1 << 20], np.float32)}, zipfile.ZIP_DEFLATED),
    "a storage as large as can be": lambda: torch_files.zip_file({"w": torch_files.View(ONE, (1,), (1,), HUGE)}),
    "a header that claims the disk": lambda: struct.pack("<Q", 20_000_000) + b"{" + bytes(20_000_001),
    "a header that is deep": lambda: torch_files.with_header(b'{"w": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "a header of another form": lambda: torch_files.with_header(b'{"w": [' + b"[]," * 200_000 + b"[]]}"),
    "tensors one over the other": lambda: torch_files.with_header(
        json.dumps({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}).encode(), bytes(4)
    ),
    "bytes that belong to none": lambda: torch_files.with_header(
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode(), bytes(8)
    ),
    "more values than bytes": lambda: torch_files.with_header(
        json.dumps({"a": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4]}}).encode(), bytes(4)
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_small_file_that_would_grow_is_refused_in_one_line(case, tmp_path):
    path = tmp_path / "bomb.pt"
    path.write_bytes(BOMBS[case]())
    with pytest.raises(UserError, match=r"bomb\.pt: not a file of PyTorch tensors that can be read: .") as refused:
        read_torch(path)
    assert len(str(refused.value)) < 400


def test_a_pickle_of_too_many_operations_and_a_file_too_large_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    path.write_bytes(torch_files.zip_file({"history": list(range(2000))}))
    monkeypatch.setattr(torch_file, "MOST_OPERATIONS", 2000)
    with pytest.raises(UserError, match="more than 2000 operations"):
        read_torch(path)
    with open(path, "wb") as file:
        file.truncate(torch_file.MOST_BYTES + 1)
    with pytest.raises(UserError, match="accepted: at most"):
        read_torch(path)
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("pipe.pt", "."):
        with pytest.raises(UserError, match="is no file"):
            read_torch(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: No such file"):
        read_torch(tmp_path / "none.pt")
