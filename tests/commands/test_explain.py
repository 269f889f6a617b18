import os

import pytest
from mode_cases import given, run
from PIL import Image

from autonl_tf.commands.explain import flags as explain
from autonl_tf.errors import UserError


@pytest.fixture
def words(home, trained, tmp_path):
    return [
        "--mode=explain",
        f"--model_dir={home}/trained",
        f"--images={home}/pictures/val/*/0.jpg",
        f"--output={tmp_path}/out",
    ]


def test_every_image_gets_a_picture_of_its_own(words, tmp_path, capsys):
    run(*words, "--query_points=0:0,1:1", "--eval_batch_size=2")
    written = sorted((tmp_path / "out").iterdir())
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert [path.name for path in written] == ["ant_0.jpg.png", "bee_0.jpg.png", "cat_0.jpg.png"]
    assert all(Image.open(path).size[0] > 400 for path in written)


def test_blocks_that_do_nothing_yet_are_told(words, home, capsys):
    run(*words, f"--arch={home}/arch.txt", "--nonlocal=all:0.25-2")
    assert "note: LightNL in 2 blocks (0, 2) changes nothing yet (its last gamma is 0)" in capsys.readouterr().err


def test_names_that_would_be_alike_are_numbered(tmp_path):
    files = [f"{tmp_path}/a/b.jpg", f"{tmp_path}/a_b.jpg", f"{tmp_path}/b.jpg", f"{tmp_path}/c/b.jpg"]
    names = [path.name for path in explain.targets(str(tmp_path), files)]
    assert names == ["a_b.jpg.png", "a_b.jpg_2.png", "b.jpg.png", "c_b.jpg.png"]


def test_a_name_as_long_as_there_are_is_cut(tmp_path):
    long = "\N{GREEK SMALL LETTER PI}" * 125
    files = [f"{tmp_path}/{end}/{long}{end}.jpg" for end in "ab"]
    for path in (targets := explain.targets(str(tmp_path), files)):
        path.with_name(f".{path.name}.part").touch()
    assert len(set(targets)) == 2
    (target,) = explain.targets(str(tmp_path), [os.fsdecode(b"\xff" * 250)])
    assert target.name == "picture.png"


@pytest.mark.parametrize("text", ["", "0.5", "0.5:x", "0.5:2", "0.5:0.5,", "0.5:nan"])
def test_points_that_are_none_are_refused(text):
    with pytest.raises(UserError, match=r"--query_points=.* is not X:Y"):
        explain.query_points(text)


def test_a_wrong_request_is_refused(words, tmp_path, refused):
    refused(given(words, images=tmp_path / "none.jpg"), "no such file")


def test_a_picture_that_another_drew_is_not_written_over(words, tmp_path, refused):
    run(*words)
    run(*words)  # its own are drawn anew
    theirs = tmp_path / "out" / "bee_0.jpg.png"
    for drawn in (b"nothing that is read", b""):
        theirs.write_bytes(drawn)
        refused(words, "holds bee_0.jpg.png, which AutoNL-TF did not draw; accepted: another directory")
        assert theirs.read_bytes() == drawn
    Image.new("RGB", (8, 8)).save(theirs)
    refused(words, "holds bee_0.jpg.png")
