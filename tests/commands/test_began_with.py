"""The data of a run is the data it began with, and is decoded once."""

from __future__ import annotations

import os

import pytest
from mode_cases import class_folder, given, run

from autonl_tf.data import bad_images
from autonl_tf.errors import UserError


@pytest.mark.slow
def test_a_run_goes_on_with_the_images_it_began_with_alone(training, tmp_path, monkeypatch, capsys):
    root = class_folder(tmp_path / "photos", {"train": 2, "val": 1})
    words = given(training, dataset=f"folder:{root}")
    run(*words)
    manifest = tmp_path / "run" / "manifest.jsonl"
    text = manifest.read_text()

    def decodes(*arguments):
        raise AssertionError("images are decoded again")

    find_bad = bad_images.find_bad
    monkeypatch.setattr(bad_images, "find_bad", decodes)
    run(*words)
    run(*words, "--check_images=none")
    with pytest.raises(AssertionError, match="decoded again"):
        run(*words, "--check_images=full")
    monkeypatch.setattr(bad_images, "find_bad", find_bad)

    os.utime(root / "train" / "cat" / "0.jpg", (1, 1))
    capsys.readouterr()
    run(*words)
    assert "written since the run began, their sizes as before: 1, train/cat/0.jpg first" in capsys.readouterr().err
    (changed,) = set(manifest.read_text().splitlines()[1:]) - set(text.splitlines())
    assert changed.startswith('["train", "train/cat/0.jpg"') and changed.endswith(', 1000000000, "cat", ""]')
    text = manifest.read_text()

    moved = root / "train" / "ant" / "0.jpg"
    moved.rename(root / "train" / "bee" / "x.jpg")
    (root / "train" / "bee" / "1.jpg").rename(moved)
    refusal = r"/run: its images are not those it began with: .* put them back, or choose another --model_dir"
    with pytest.raises(UserError, match=refusal):
        run(*words)
    manifest.write_text(text.replace('"ant", ""', '"ant", "x"'))
    capsys.readouterr()
    with pytest.raises(UserError, match=r"another data\.txt \(line 4: 'digest of names, sizes and classes"):
        run(*words)
    assert (
        "manifest.jsonl: damaged (its digest is not that of its lines): all images are checked"
        in capsys.readouterr().err
    )
    moved.rename(root / "train" / "bee" / "1.jpg")
    (root / "train" / "bee" / "x.jpg").rename(moved)
    run(*words)
    assert manifest.read_text() == text
