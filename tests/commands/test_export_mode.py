"""`--mode=export` with images on which the network has no finite answer."""

import json

import numpy as np
from mode_cases import class_folder, configure
from PIL import Image

from autonl_tf.commands.export import run as export
from autonl_tf.prepare import checkpointed


def test_an_image_without_a_finite_answer_costs_a_miss_and_not_the_export(home, trained, tmp_path, monkeypatch):
    folder = class_folder(tmp_path / "pictures", {"train": 1, "val": 1})
    for path in folder.rglob("*.jpg"):
        Image.new("RGB", (32, 32)).save(path)
    (sample,) = (
        export.inputs.dataset_of(
            configure("--mode=export", "--model_dir=x", "--output=y", f"--dataset=folder:{folder}")
        )
        .examples("validation", shuffle_seed=0)
        .take(1)
    )
    others = [path for path in sorted(folder.glob("val/*/*.jpg")) if path.read_bytes() != b""]
    bad = others[(int(sample["label"]) + 1) % 3]
    Image.new("RGB", (32, 32), (255, 255, 255)).save(bad)
    load = checkpointed.load

    def huge(config):
        """Dark pixels, which are negative, end in swish's zeros; white ones overflow."""
        network = load(config)
        kernel = network.float_model.get_layer("stem_conv").kernel
        kernel.assign(np.full(kernel.shape, 1e13))
        return network

    monkeypatch.setattr(export.checkpointed, "load", huge)
    monkeypatch.setattr(export, "SAMPLES", 1)
    words = ("--mode=export", f"--model_dir={home}/trained", f"--dataset=folder:{folder}")
    export.run(configure(*words, f"--output={tmp_path}/export", "--formats=tflite_fp32"))
    card = json.loads((tmp_path / "export" / "card.json").read_text(encoding="utf-8"))
    assert card["accuracy"]["loss"] is None and card["accuracy"]["count"] == 3
    assert card["scores"]["files"][0]["not_finite"] == 1
    assert [row["images"] for row in card["verification"]["agreements"]] == [1]  # the sample, once
