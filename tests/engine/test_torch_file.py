"""Files of PyTorch: read to the number, and never run."""

import numpy as np
import pytest
import torch_files
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.engine.torch_file import read_torch
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


@settings(max_examples=150, deadline=None)
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
    [
        (10, 8, "invalid"),  # deflated, which it is not: zlib.error
        (10, 12, "Invalid data stream"),  # bzip2: OSError
        (10, 14, "not a file of"),  # LZMA
        (6, 100, "version 10.0"),  # NotImplementedError
        (8, 1, "encrypted"),  # RuntimeError
    ],
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


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: No such file"):
        read_torch(tmp_path / "none.pt")
