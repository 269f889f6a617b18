"""A worker of a cluster that is lost is told in every mode that works on one, whatever is under way."""

from __future__ import annotations

import pytest
import tensorflow as tf
from mode_cases import class_folder, run

from autonl_tf.engine import loop
from autonl_tf.prepare import machines


class Losing:
    """A strategy of a cluster of which the other process is gone."""

    def __getattr__(self, name):
        raise tf.errors.UnavailableError(None, None, "Socket closed")


@pytest.mark.parametrize(
    "words",
    [
        ("--mode=train", "--arch=autonl_s", "--model_dir=run"),
        ("--mode=search", "--search_space=demo", "--model_dir=run"),
        ("--mode=eval", "--arch=autonl_s", "--init_checkpoint=weights"),
    ],
)
def test_it_is_told_outside_of_the_steps_too(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    class_folder(tmp_path / "photos", {"train": 2, "val": 1})
    (tmp_path / "weights.index").touch()  # as much of a checkpoint as is looked at before the devices
    monkeypatch.setattr(machines, "make_strategy", lambda *words, **named: Losing())
    monkeypatch.setattr(loop, "is_cluster", lambda strategy: True)
    with pytest.raises(loop.WorkerLost):
        run(*words, "--dataset=folder:photos")
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"a worker of the cluster is lost, in {words[0]}: start all workers again")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "weights.index"}
