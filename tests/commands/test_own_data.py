"""Fine-tuning on data of one's own: new heads, frozen parts, rates by part, class weights, mixing, and the report."""

import csv
import json
import os
import re
import shutil
import types

import numpy as np
import pytest
from mode_cases import CLASSES, class_folder, command, given, run

from autonl_tf.commands.train import finetune
from autonl_tf.commands.train.finetune import layers_of
from autonl_tf.data.folder import LabelledFile
from autonl_tf.errors import UserError
from autonl_tf.prepare import checkpointed


@pytest.fixture
def others(tmp_path):
    """A folder of four classes, one of them new, with fewer images of one."""
    root = class_folder(tmp_path / "others", {"train": 3, "val": 2}, classes=["ant", "bee", "cat", "dog"])
    (root / "train" / "dog" / "2.jpg").unlink()
    return root


@pytest.fixture
def tuning(training, home, trained, others):
    return given(training, dataset=f"folder:{others}", **start(home), moving_average_decay=0)


def start(home):
    """The plain variables of the run's last step, which `variables` reads too."""
    return {"init_checkpoint": home / "trained" / "checkpoints" / "ckpt-2", "use_averages": "false"}


def variables(directory):
    """Plain variables of a run's newest checkpoint, by name."""
    import tensorflow as tf

    prefix = tf.train.latest_checkpoint(str(directory / "checkpoints"))
    prefix = prefix or str(sorted((directory / "checkpoints").glob("*.index"))[-1].with_suffix(""))
    reader = tf.train.load_checkpoint(prefix)
    return {
        key.split("/.ATTRIBUTES")[0].removeprefix("variables/"): reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key.startswith("variables/") and "dropout" not in key
    }


def test_other_classes_get_a_new_classifier_and_the_rest_is_loaded(tuning, home, tmp_path, capsys):
    run(*tuning, "--freeze=backbone")
    said = capsys.readouterr().err
    assert "new classifier: 4 classes here, 3 in " in said and "loaded:" in said and "frozen: backbone" in said
    before, after = variables(home / "trained"), variables(tmp_path / "run")
    assert before.keys() == after.keys()
    changed = {name for name in after if before[name].shape != after[name].shape or (before[name] != after[name]).any()}
    assert changed == {name for name in after if name.startswith("logits")}


def test_light_nl_that_the_weights_lack_is_trained_whatever_is_frozen(tuning, home, tmp_path, capsys):
    for _ in range(2):  # the second goes on, from the end
        run(*tuning, "--freeze=backbone", "--nonlocal=all:0.25-2")
    said = capsys.readouterr().err
    assert "every layer but new blocks and the classifier" in said
    assert said.count("frozen: backbone without LightNL in 2 blocks (0, 2), new and trained; ") == 2
    before, after = variables(home / "trained"), variables(tmp_path / "run")
    changed = {
        name
        for name in after
        if name in before and (before[name].shape != after[name].shape or (before[name] != after[name]).any())
    }
    assert all(name.startswith("logits") for name in changed)
    assert all(after[f"block{i}_nl_bn.Sgamma"].any() for i in (0, 2))
    loaded = int(re.search(r"loaded: ([\d,]+) values", said)[1].replace(",", ""))
    assert loaded == sum(array.size for name, array in before.items() if not name.startswith("logits"))


def test_very_unequal_classes_are_told():
    def listing(*counts):
        files = [LabelledFile("image.jpg", 1, 1, label) for label, count in enumerate(counts) for _ in range(count)]
        return types.SimpleNamespace(class_names=("ant", "bee", "cat"), splits={"train": files})

    assert finetune.unequal(listing(20, 3, 29)) is None
    assert finetune.unequal(listing(20, 3, 30)).startswith(
        "classes have 3 (bee) to 30 (cat) images to train on; --class"
    )


def test_the_same_classes_keep_their_classifier(training, home, trained, tmp_path, capsys):
    words = given(training, **start(home), freeze="stem,block0-1")
    run(*words)
    said = capsys.readouterr().err
    assert "new classifier" not in said
    before, after = variables(home / "trained"), variables(tmp_path / "run")
    for name in after:
        if name.startswith(("stem", "block0", "block1")):
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert (before["logits.Sbias"] != after["logits.Sbias"]).any()


def test_rates_by_part_are_logged_and_everything_mixes(tuning, tmp_path):
    (tmp_path / "weights.txt").write_text("ant 1\nbee\t2\ncat 1\ndog 4\n")
    words = (
        *given(tuning, lr_multipliers="backbone:0.1,block2:0.5", class_weights=tmp_path / "weights.txt"),
        *("--mixup_alpha=0.2", "--cutmix_alpha=1", "--random_erasing=0.25", "--lr_warmup_epochs=0"),
    )
    run(*words)
    records = [json.loads(line)["values"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = next(record for record in records if "learning_rate_2" in record)
    assert rates["learning_rate"] / rates["learning_rate_2"] == pytest.approx(0.1)
    assert rates["learning_rate_1"] / rates["learning_rate_2"] == pytest.approx(0.5)
    (tmp_path / "weights.txt").write_text("ant 1\nbee\t2\ncat 1\ndog 5\n")
    with pytest.raises(UserError, match=r"another class_weights\.txt \(line 4: 'dog 4', now 'dog 5'\)"):
        run(*words)


def test_one_image_is_not_mixed_with_itself(tuning, tmp_path):
    batch = next(word.partition("=")[2] for word in tuning if word.startswith("--train_batch_size="))
    with pytest.raises(UserError, match="--cutmix_alpha: a micro-batch of one image has no other to mix it with"):
        run(*tuning, "--cutmix_alpha=1", f"--micro_batches={batch}")
    assert not (tmp_path / "run").exists()


def test_a_larger_image_than_the_checkpoints_is_fine(tuning, tmp_path):
    run(*given(tuning, input_image_size=48))
    assert json.loads((tmp_path / "run" / "model.json").read_text())["input_image_size"] == 48


@pytest.mark.parametrize(
    ("changed", "culprit"),
    [
        ({"freeze": "neck"}, "--freeze=neck: no part 'neck'; accepted: stem"),
        ({"freeze": "block9"}, "'block9': accepted: block numbers from 0 to 2"),
        ({"freeze": "block2-1"}, "'block2-1': accepted: block numbers"),
        ({"lr_multipliers": "head"}, "'head' is not PART:FACTOR"),
        ({"lr_multipliers": "head:0"}, "'head:0' is not PART:FACTOR"),
        ({"class_weights": "none.txt"}, "--class_weights=none.txt: No such file"),
        ({"class_weights": "WEIGHTS"}, "line 2: 'dog' is no class of the data"),
        ({"arch": "autonl_s"}, "holds another architecture"),
    ],
)
def test_a_wrong_request_is_refused(training, home, trained, changed, culprit, tmp_path):
    (tmp_path / "weights.txt").write_text("ant 1\ndog 2\n")
    changed = {name: str(value).replace("WEIGHTS", str(tmp_path / "weights.txt")) for name, value in changed.items()}
    with pytest.raises(UserError, match=culprit):
        run(*given(training, init_checkpoint=home / "trained", **changed))
    assert not (tmp_path / "run").exists()


def test_balanced_weights_make_classes_count_alike(others):
    from autonl_tf.commands.train.finetune import class_weights
    from autonl_tf.data.datasets import open_dataset

    weights = class_weights("balanced", open_dataset(f"folder:{others}"))
    np.testing.assert_allclose(weights * [3, 3, 3, 2], [11 / 4] * 4, rtol=1e-6)


def test_the_report_tells_what_is_wrong_with_each_class(home, trained, tmp_path, capsys):
    run("--mode=eval", f"--model_dir={home}/trained", f"--dataset=folder:{home}/pictures", f"--output={tmp_path}/r",
        "--json")  # fmt: skip
    scores = json.loads(capsys.readouterr().out)
    with open(tmp_path / "r" / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0][1:] == list(CLASSES)
    counts = np.array([[int(cell) for cell in row[1:]] for row in table[1:]])
    assert counts.sum() == scores["count"] and np.trace(counts) / counts.sum() == pytest.approx(scores["top1"])
    with open(tmp_path / "r" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == set(CLASSES)
    assert [float(row["accuracy"]) for row in rows] == sorted(float(row["accuracy"]) for row in rows)
    assert (tmp_path / "r" / "confusion.png").is_file()
    assert (tmp_path / "r" / "mistakes.png").is_file() == (scores["top1"] < 1)
    run("--mode=eval", f"--model_dir={home}/trained", f"--dataset=folder:{home}/pictures", f"--output={tmp_path}/r")


@pytest.mark.parametrize("name", ["classes.csv", "mistakes.png"])
def test_a_report_takes_the_place_of_no_file_that_another_wrote(name, home, trained, tmp_path):
    (tmp_path / name).write_text("my,own,table\n")
    words = ("--mode=eval", f"--model_dir={home}/trained", f"--dataset=folder:{home}/pictures", f"--output={tmp_path}")
    with pytest.raises(UserError, match=f"holds {name}, which no report wrote; accepted: another directory, or one"):
        run(*words)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "my,own,table\n")]


def test_a_report_names_the_classes_of_a_checkpoint_that_only_numbers_them(home, trained, tmp_path):
    shutil.copytree(home / "trained", tmp_path / "numbered")
    description = json.loads((home / "trained" / "model.json").read_text())
    description |= {"class_names": ["0", "1", "2"], "classes_are_numbered": True}
    (tmp_path / "numbered" / "model.json").write_text(json.dumps(description))
    words = ["--mode=eval", f"--model_dir={tmp_path}/numbered", f"--dataset=folder:{home}/pictures"]
    run(*words, f"--output={tmp_path}/r")
    assert (tmp_path / "r" / "confusion.csv").read_text().splitlines()[0].split(",")[1:] == list(CLASSES)


def strict(text):
    """What a JSON reader makes of `text` that knows no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_numbers_that_are_not_finite_are_null_in_json_and_told(home, trained, tmp_path, capsys, monkeypatch):
    load = checkpointed.load

    def spoilt(config):
        network = load(config)
        network.model.get_layer("logits").bias.assign([np.nan] * len(CLASSES))
        return network

    monkeypatch.setattr(checkpointed, "load", spoilt)
    run("--mode=predict", f"--model_dir={home}/trained", f"--images={home}/pictures/val/ant/0.jpg", "--json")
    assert [score for _, score in strict(capsys.readouterr().out)["best"]] == [None] * 3
    words = ["--mode=eval", f"--model_dir={home}/trained", f"--dataset=folder:{home}/pictures", "--json"]
    run(*words, f"--output={tmp_path}/r")
    said = capsys.readouterr()
    scores = strict(said.out)
    assert (scores["loss"], scores["top1"], scores["count"]) == (None, 0, 3)
    assert "the logits of 3 images are not finite" in said.err
    assert not (tmp_path / "r" / "mistakes.png").exists()


def test_file_names_that_are_not_text_are_told_and_kept(home, trained, tmp_path, capsys):
    name = os.fsdecode(b"b\xff.jpg")
    (tmp_path / "photos").mkdir()
    shutil.copy(home / "pictures" / "val" / "bee" / "0.jpg", tmp_path / "photos" / name)
    words = [f"--model_dir={home}/trained", f"--images={tmp_path}/photos"]
    run("--mode=predict", *words, f"--output={tmp_path}/out.csv")
    assert capsys.readouterr().out.splitlines()[-1] == f"written: {tmp_path}/out.csv, 1 images"
    assert b"/photos/b\xff.jpg," in (tmp_path / "out.csv").read_bytes()
    done = command("--mode=explain", *words, f"--output={tmp_path}/maps", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path / "maps") == [os.fsdecode(b"b\xff.png")]


def test_predictions_of_a_folder_go_into_a_table(home, trained, tmp_path, capsys):
    shutil.copytree(home / "pictures" / "val", tmp_path / "photos")
    (tmp_path / "photos" / "note.txt").write_text("not an image")
    out = tmp_path / "out.csv"
    run("--mode=predict", f"--model_dir={home}/trained", f"--images={tmp_path}/photos", f"--output={out}")
    capsys.readouterr()
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(tmp_path / "photos" / name / "0.jpg") for name in CLASSES]
    for row in rows:
        shares = [float(row[f"probability {place}"]) for place in (1, 2, 3)]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
        assert {row[f"class {place}"] for place in (1, 2, 3)} == set(CLASSES)


def test_parts_are_disjoint_and_cover_the_network():
    from autonl_tf.arch import blockstring
    from autonl_tf.networks.network import build_network

    model = build_network(blockstring.parse("r2_k3_s11_e2_i32_o32"), image_size=16, num_classes=2)
    parts = [layers_of(model, part, "--freeze") for part in ("stem", "block0", "block1", "head", "logits")]
    names = [layer.name for layers in parts for layer in layers]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in model.layers if layer.weights} <= set(names)
    assert len(layers_of(model, "blocks", "")) == len(parts[1]) + len(parts[2])
    assert len(layers_of(model, "backbone", "")) == len(names) - 1


def test_frozen_batch_norm_leaves_light_nls_own_to_train():
    from autonl_tf.arch import blockstring
    from autonl_tf.networks.network import build_network

    model = build_network(blockstring.parse("r1_k3_s11_e2_i32_o32_nonlocal0.25-1"), image_size=16, num_classes=2)
    names = {layer.name for layer in layers_of(model, "nonlocal", "--freeze")}
    assert names == {layer.name for layer in model.layers if layer.name.startswith("block0_nl_")}
    (line,) = finetune.freeze(model, "batch_norm")
    assert finetune.freeze(model, "none") == []
    trained = {variable.name for variable in model.trainable_variables}
    assert {name for name in trained if "gamma" in name or "beta" in name} == {
        "block0_nl_bn/gamma:0",
        "block0_nl_bn/beta:0",
    }
    assert "block0_expand_conv/kernel:0" in trained and line.startswith("frozen: batch_norm; ")
