"""Files that others may have written: what is read whole, and what is refused in one line."""

from __future__ import annotations

import os

import pytest

from autonl_tf.arch import presets
from autonl_tf.data.labels import read_label_file
from autonl_tf.errors import UserError
from autonl_tf.reading import MOST_LONG, MOST_SHORT, read_json, read_text
from autonl_tf.records import BestRecord
from autonl_tf.space import space
from autonl_tf.space.latency import read_table


def test_text_is_read_whatever_its_line_ends_and_with_a_byte_order_mark(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(tmp_path / "text") == "one\ntwo\n"


def test_what_is_no_regular_text_file_of_a_stated_size_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 9)
    for name, most, said in (
        ("pipe", 8, "not a regular file"),
        (".", 8, "Is a directory"),
        ("none", 8, "No such file"),
        ("bytes", 8, "not a text file"),
        ("long", 8, "has 9 bytes; accepted: at most 8"),
        ("n" * 999, 8, "File name too long"),
        ("zero\0byte", 8, "not the name of a file"),
    ):
        with pytest.raises(UserError, match=said):
            read_text(tmp_path / name, most)
    with pytest.raises(UserError, match=r"/dev/zero: not a regular file"):
        read_text("/dev/zero")


@pytest.mark.parametrize(
    ("reader", "most"),
    [
        (presets.load, MOST_SHORT),
        (space.load, MOST_SHORT),
        (read_label_file, MOST_LONG),
        (read_table, MOST_LONG),
        (lambda path: read_json(path, BestRecord), MOST_LONG),
    ],
)
def test_a_file_of_gigabytes_or_a_pipe_is_refused_by_every_reader(reader, most, tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 36)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=rf"sparse.*: has 68719476736 bytes; accepted: at most {most}"):
        reader(str(tmp_path / "sparse"))
    with pytest.raises(UserError, match=r"pipe.*: not a regular file"):
        reader(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"step": 1}', "Object missing required field `metric`"),
        ('{"step": 1.5, "metric": 0}', r"Expected `int`, got `float` - at `\$\.step`"),
        ('{"step": true, "metric": 0}', r"Expected `int`, got `bool` - at `\$\.step`"),
        ('{"step": -1, "metric": 0}', r"Expected `int` >= 0 - at `\$\.step`"),
        ('{"step": 1, "metric": 2}', r"Expected `float` <= 1.0 - at `\$\.metric`"),
        ('{"step": 1, "metric": NaN}', "not JSON"),
        ("{", "not JSON"),
        ('{"step": ' + "[" * 100_000, "got `array`"),
        ('{"other": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_json_is_checked_by_its_declared_type(text, said, tmp_path):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(UserError, match=rf"best\.json: .*{said}"):
        read_json(tmp_path / "best.json", BestRecord)
