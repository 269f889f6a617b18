"""What the index of a checkpoint claims is checked before TensorFlow takes memory for it, or ends the process."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

from autonl_tf import signals
from autonl_tf.engine import bundle_index
from autonl_tf.engine.checkpoints import fault_of

FLOAT, STRING = 1, 7


def varint(number):
    head = [number >> shift & 127 | 128 for shift in range(0, number.bit_length() - 7, 7)]
    return bytes([*head, number >> 7 * len(head)])


def table(blocks, checksum, compressed=0):
    """A table of `blocks`, each a list of (bytes shared with the key before, rest of the key, value)."""
    written, handles = b"", []

    def add(rows):
        nonlocal written
        text = b"".join(varint(s) + varint(len(k)) + varint(len(v)) + k + v for s, k, v in rows)
        text += bytes(4) + (1).to_bytes(4, "little") + bytes([compressed])
        handles.append(varint(len(written)) + varint(len(text) - 1))
        written += text + checksum(text)

    for rows in blocks:
        add(rows)
    add([(0, b"\xff" * number, handle) for number, handle in enumerate(handles, start=1)])
    notes = varint(0) + varint(0)
    return written + (notes + handles[-1]).ljust(40, b"\0") + bundle_index._MAGIC


def entry(kind=FLOAT, sides=(), size=0, sliced=False):
    made = BundleEntryProto(dtype=kind, size=size)
    for side in sides:
        made.shape.dim.add(size=side)
    if sliced:
        made.slices.add()
    return made.SerializeToString()


@pytest.fixture
def checksum(tmp_path):
    """The checksum of a block, by the writer of TensorFlow's records, whose own is the same."""

    def last_of_record(data):
        with tf.io.TFRecordWriter(str(tmp_path / "record")) as writer:
            writer.write(data)
        return (tmp_path / "record").read_bytes()[-4:]

    return last_of_record


HEADER = (0, b"", b"\x08\x01\x1a\x02\x08\x01")
EVIL = {
    "more than the file": entry(sides=[1 << 40], size=1 << 42),
    "less than its shape": entry(sides=[1 << 40], size=4),
    "below nothing": entry(sides=[-5], size=4),
    "more than a number holds": entry(sides=[1 << 40, 1 << 40], size=4),
    "texts": entry(STRING, [1 << 40], size=4),
    "in slices": entry(sides=[1 << 40], sliced=True),
    "of no type": entry(99, [1], size=4),
    "without a message": b"\xff\xff",
}


@pytest.mark.parametrize("case", EVIL)
def test_a_tensor_that_its_data_do_not_hold_is_told(case, checksum, tmp_path):
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(100))
    rows = [HEADER, (0, b"fine", entry(sides=[2, 3], size=24)), (0, b"name", EVIL[case])]
    (tmp_path / "a.index").write_bytes(table([rows], checksum))
    assert fault_of(tmp_path / "a").startswith("its index ")


def test_a_signal_in_whose_place_the_reader_fails_makes_no_checkpoint_a_broken_one(tmp_path, monkeypatch):
    assert "a" in fault_of(tmp_path / "a")
    monkeypatch.setattr(signals, "_raised", 2)
    with pytest.raises((ValueError, tf.errors.OpError)):
        fault_of(tmp_path / "a")


def test_a_table_that_grows_when_it_is_read_is_told(tmp_path):
    def no_checksum(text):
        return bytes(4)

    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(100))
    fine, small = entry(sides=[1], size=4), [HEADER, (0, b"name", entry(sides=[1], size=4))]
    long = [HEADER, (0, bytes(1000), fine), *[(1000, b"", fine)] * 1000]
    for made, told in (
        (table([small], no_checksum), None),
        (table([long], no_checksum), "its keys are too long"),
        (table([small], no_checksum, compressed=1), "a block is compressed"),
        (table([small], no_checksum).replace(b"name", b"na"), "not an sstable"),
        (bytes(100), "it has no footer"),
        (bytes(bundle_index._MOST + 1), "accepted: at most"),
    ):
        (tmp_path / "a.index").write_bytes(made)
        fault = bundle_index.fault_of_index(tmp_path / "a")
        assert fault is None if told is None else told in fault


def test_what_tensorflow_writes_is_accepted(tmp_path):
    values = {
        "several": tf.Variable(tf.zeros([300, 7])),
        "text": tf.Variable(["a", "bc"]),
        "none": tf.Variable(tf.zeros([0, 3])),
        "half": tf.Variable(tf.zeros([3], tf.bfloat16)),
        **{f"layer{number:03}/kernel": tf.Variable(number) for number in range(300)},
    }
    tf.train.Checkpoint(**values).write(str(tmp_path / "a"))
    assert fault_of(tmp_path / "a") is None
