"""The Keras API: shapes, weights from every kind of place, feature maps."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tf_keras as keras
from golden_data import TESTDATA, VALUES
from mode_cases import SHORT, class_folder, configure, run

import autonl_tf
from autonl_tf.arch import blockstring, presets
from autonl_tf.networks.network import build_network

ARCH = "r1_k3_s22_e1_i32_o8_noskip\nr1_k3_s22_e2_i8_o12_nonlocal0.25-2\nr1_k3_s11_e2_i12_o12_se0.25\n"
SHAPE = (32, 32, 3)
MEAN, STDDEV = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run directory of two steps, its export, and its architecture file."""
    root = tmp_path_factory.mktemp("api")
    class_folder(root / "pictures", {"train": 2, "val": 1})
    (root / "arch.txt").write_text(ARCH)
    model = f"--model_dir={root}/run"
    run("--mode=train", f"--arch={root}/arch.txt", f"--dataset=folder:{root}/pictures", model, *SHORT)
    run("--mode=export", model, "--formats=savedmodel", f"--output={root}/export")
    return root


def test_the_signature_is_keras_applications():
    model = autonl_tf.AutoNLS(input_shape=(32, 32, 3), classes=7)
    assert (model.name, model.input_shape, model.output_shape) == ("autonl_s", (None, 32, 32, 3), (None, 7))
    np.testing.assert_allclose(model(VALUES.inputs(0, 2, 32)).numpy().sum(axis=1), 1, rtol=1e-5)
    logits = autonl_tf.AutoNLL(input_shape=(32, 32, 3), classes=7, classifier_activation=None)
    assert logits.layers[-1].name == "logits"


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, 2, 3, 1280)), ("avg", (None, 1280)), ("max", (None, 1280))]
)
def test_without_the_top_there_are_features(pooling, shape):
    model = autonl_tf.AutoNLS(include_top=False, input_shape=(64, 96, 3), pooling=pooling)
    assert model.output_shape == shape
    assert "logits" not in {layer.name for layer in model.layers}


def test_weights_come_from_a_run_and_from_its_export_alike(home):
    x = VALUES.inputs(0, 2, 32)
    path = str(home / "arch.txt")
    by_run, by_export = (
        autonl_tf.from_arch(path, weights=str(home / where), input_shape=SHAPE, classes=3)
        for where in ("run", "export")
    )
    np.testing.assert_allclose(by_run(x), by_export(x), rtol=1e-6)
    random = autonl_tf.from_arch(path, input_shape=SHAPE, classes=3)
    assert np.abs(by_run(x) - random(x)).max() > 1e-4
    features = autonl_tf.from_arch(path, include_top=False, weights=str(home / "run"), input_shape=SHAPE, pooling="avg")
    pooled = keras.Model(by_run.input, by_run.get_layer("head_pool").output)
    np.testing.assert_allclose(features(x), pooled(x), rtol=1e-6)


def test_a_network_is_built_on_a_tensor_of_ones_own(home):
    """Pixels in: what normalises them is a layer of the same flat model, and weights are loaded all the same."""
    path, x = str(home / "arch.txt"), np.random.default_rng(0).uniform(0, 255, [2, 32, 32, 3]).astype(np.float32)
    given = {"weights": str(home / "run"), "classes": 3}
    plain = autonl_tf.from_arch(path, input_shape=SHAPE, **given)
    pixels = keras.Input(SHAPE, name="pixels")
    normal = keras.layers.Rescaling(list(1 / STDDEV), list(-MEAN / STDDEV))(pixels)
    model = autonl_tf.from_arch(path, input_tensor=normal, name="mine", **given)
    assert (model.name, model.input_names, model.input.shape[1:]) == ("mine", ["pixels"], SHAPE)
    assert [layer.name for layer in model.layers][2:] == [layer.name for layer in plain.layers][1:]
    expected = plain(autonl_tf.preprocess_input(x))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(x), model(x))
    direct = autonl_tf.from_arch(path, input_tensor=keras.Input(SHAPE), **given)
    np.testing.assert_allclose(direct(autonl_tf.preprocess_input(x)), expected, rtol=1e-6)
    given |= {"include_top": False, "pooling": "avg"}
    features, plain = (
        autonl_tf.from_arch(path, **size, **given) for size in ({"input_tensor": normal}, {"input_shape": SHAPE})
    )
    np.testing.assert_allclose(features(x), plain(autonl_tf.preprocess_input(x)), rtol=1e-4, atol=1e-6)


def test_a_backbone_is_built_on_a_tensor_of_ones_own():
    pixels = keras.Input((64, 96, 3))
    model = autonl_tf.backbone("mobilenet_v2", input_tensor=keras.layers.Rescaling(1 / 255)(pixels), name="maps")
    assert model.name == "maps" and model.input is pixels
    assert model(np.zeros([1, 64, 96, 3], np.float32))["reduction_5"].shape == (1, 2, 3, 320)


def test_the_size_is_the_weights_else_the_published_one(home):
    model = autonl_tf.from_arch(str(home / "arch.txt"), weights=str(home / "run"), classes=3)
    assert model.input_shape == (None, 32, 32, 3)
    assert autonl_tf.from_arch("efficientnet_lite1", classes=2).input_shape == (None, 240, 240, 3)
    assert autonl_tf.from_arch(str(home / "arch.txt"), classes=2).input_shape == (None, 224, 224, 3)
    assert autonl_tf.AutoNLS(input_shape=(np.int64(32), 32, 3), classes=2, name="s").name == "s"


def test_weights_serve_another_size(home):
    model = autonl_tf.from_arch(str(home / "arch.txt"), weights=str(home / "run"), input_shape=(48, 64, 3), classes=3)
    assert model(np.zeros([1, 48, 64, 3], np.float32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("changed", "culprit"),
    [
        ({"classes": 4}, "has 3 classes; give classes=3"),
        ({"path": "autonl_s"}, "another architecture than autonl_s"),
        ({"weights": "nowhere"}, "nowhere: no checkpoint"),
        ({"path": "nosuch"}, "--arch=nosuch"),
        ({"input_shape": (8, 8, 3)}, "LightNL stride 2 is larger"),
    ],
)
def test_weights_that_do_not_fit_are_refused(home, changed, culprit):
    given = {"path": str(home / "arch.txt"), "weights": str(home / "run"), "input_shape": SHAPE, "classes": 3} | changed
    with pytest.raises(autonl_tf.UserError, match=culprit):
        autonl_tf.from_arch(**given)


def test_an_export_whose_description_is_broken_is_refused(home, tmp_path):
    shutil.copytree(home / "export", tmp_path / "export")
    card = json.loads((tmp_path / "export" / "card.json").read_text())
    del card["num_classes"]
    (tmp_path / "export" / "card.json").write_text(json.dumps(card))
    with pytest.raises(autonl_tf.UserError, match="missing required field `num_classes`"):
        autonl_tf.from_arch(str(home / "arch.txt"), weights=str(tmp_path / "export"), input_shape=SHAPE, classes=3)


def test_what_holds_no_weights_to_take_is_refused_in_a_sentence(home, tmp_path):
    shutil.copytree(home / "export", tmp_path / "export")
    shutil.rmtree(tmp_path / "export" / "saved_model")
    (tmp_path / "weights.pth").write_bytes(b"PK")
    given = {"path": str(home / "arch.txt"), "input_shape": SHAPE, "classes": 3}
    with pytest.raises(autonl_tf.UserError, match="an export without a SavedModel; export with --formats=savedmodel"):
        autonl_tf.from_arch(**given, weights=str(tmp_path / "export"))
    with pytest.raises(autonl_tf.UserError, match=r"is a PyTorch file.*--mode=convert --from=pytorch"):
        autonl_tf.from_arch(**given, weights=str(tmp_path / "weights.pth"))


def test_of_a_quantization_aware_run_the_float_weights_are_taken(home):
    from autonl_tf.prepare import checkpointed

    words = ["--mode=train", "--qat", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", *SHORT]
    run(*words, f"--init_checkpoint={home}/run", f"--model_dir={home}/qat")
    network = checkpointed.load(configure("--mode=predict", "--images=x", f"--model_dir={home}/qat"))
    path, x = str(home / "arch.txt"), VALUES.inputs(0, 2, 32)
    model = autonl_tf.from_arch(
        path, weights=str(home / "qat"), input_shape=SHAPE, classes=3, classifier_activation=None
    )
    np.testing.assert_allclose(model(x), network.float_model(x), rtol=1e-6)
    assert np.abs(model(x) - network.model(x)).max() > 0


@pytest.mark.parametrize("averages_only", [False, True])
def test_an_official_checkpoint_gives_the_releases_logits(tmp_path, averages_only):
    import tensorflow as tf
    from golden_data import TINY
    from official_checkpoints import tiny_checkpoint, write_checkpoint

    (tmp_path / "arch.txt").write_text(TINY)
    prefix = tiny_checkpoint(tmp_path / "official")
    if averages_only:
        reader = tf.train.load_checkpoint(str(prefix))
        names = [name for name in reader.get_variable_to_shape_map() if name.endswith("/ExponentialMovingAverage")]
        prefix = write_checkpoint(tmp_path / "averages" / "bestmodel.ckpt", {n: reader.get_tensor(n) for n in names})
    model = autonl_tf.from_arch(
        str(tmp_path / "arch.txt"),
        weights=str(prefix),
        input_shape=(64, 64, 3),
        classes=10,
        classifier_activation=None,
    )
    golden = np.load(TESTDATA / "forward" / "tiny.npz")
    error = np.linalg.norm(model(VALUES.inputs(7, 4, 64)) - golden["logits_ema"]) / np.linalg.norm(golden["logits_ema"])
    assert error < 1e-4


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"pooling": "sum", "include_top": False}, "pooling='sum'"),
        ({"classes": 0}, "classes=0: accepted: a whole number"),
        ({"classes": "5"}, "classes='5': accepted: a whole number"),
        ({"weights": 7}, "weights=7: accepted: None, 'imagenet' or a path"),
        ({"weights": ""}, "weights='': accepted"),
        ({"input_shape": 64}, r"input_shape=64: accepted: \(height"),
        ({"classifier_activation": "nosuch"}, "[Uu]nknown activation function"),
        (
            {"input_shape": (None, None, 3)},
            r"input_shape=\(None, None, 3\): height and width must be known",
        ),
        ({"input_shape": (32, None, 3)}, "height and width must be known"),
        ({"input_shape": (3, 32, 32)}, "channels come last here: .* no convolutions of channels that come first"),
        ({"input_shape": (32, 32)}, r"input_shape=\(32, 32\): accepted"),
        ({"input_shape": (32.0, 32, 3)}, "accepted: .height, width, 3. in pixels"),
        ({"input_tensor": np.zeros([1, 32, 32, 3])}, "input_tensor is ndarray; accepted: what keras.Input or a layer"),
        ({"input_tensor": keras.Input([None, None, 3])}, "height and width must be known"),
        ({"input_tensor": keras.Input([3, 32, 32])}, "channels come last here"),
        ({"input_tensor": keras.Input([32])}, r"input_tensor of shape \(None, 32\): accepted"),
        ({"input_tensor": keras.Input([32, 32, 3], dtype="uint8")}, "input_tensor is uint8; accepted: normalised"),
        ({"input_tensor": keras.Input([32, 32, 3]), "input_shape": (64, 64, 3)}, "one of them is enough"),
        ({"input_shape": (32, 32, 1)}, r"input_shape=\(32, 32, 1\)"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, culprit):
    with pytest.raises(ValueError, match=culprit):
        autonl_tf.AutoNLS(**arguments)


@pytest.mark.parametrize("make", [autonl_tf.from_arch, autonl_tf.backbone])
def test_what_is_no_text_is_refused(make, tmp_path, monkeypatch):
    (tmp_path / "arch.txt").write_text("r1_k3_s22_e1_i32_o16")
    monkeypatch.chdir(tmp_path)
    for path in (None, 3, "", " ", ["autonl_s"]):
        with pytest.raises(ValueError, match=r"^path=.*: accepted: a name of docs/zoo.md"):
            make(path)
    with pytest.raises(ValueError, match=r"^nonlocal_blocks=3: accepted: None, none, all:C-S"):
        make("autonl_s", nonlocal_blocks=3)


def test_a_backbones_maps_are_what_the_next_block_takes():
    model = autonl_tf.backbone("mobilenet_v2", input_shape=(64, 96, 3), levels=(1, 2, 3, 4, 5))
    sizes = {name: tuple(feature.shape[1:]) for name, feature in model.output.items()}
    assert sizes == {
        "reduction_1": (32, 48, 16),
        "reduction_2": (16, 24, 24),
        "reduction_3": (8, 12, 32),
        "reduction_4": (4, 6, 96),
        "reduction_5": (2, 3, 320),
    }
    whole = build_network(presets.load("mobilenet_v2"), image_size=(64, 96), num_classes=2)
    for layer in model.layers:
        layer.set_weights(whole.get_layer(layer.name).get_weights())
    taken = keras.Model(whole.input, whole.get_layer("head_conv").input)
    x = np.random.default_rng(0).normal(size=[1, 64, 96, 3]).astype(np.float32)
    np.testing.assert_allclose(model(x)["reduction_5"], taken(x), rtol=1e-5, atol=1e-6)
    path = pathlib.Path("mobilenet_v2")
    for levels, said in (((6,), r"\(6,\)"), (3, "3"), ((), r"\(\)"), ("345", r"\('3', '4', '5'\)")):
        with pytest.raises(autonl_tf.UserError, match=rf"levels={said}: accepted: a list of 1, 2, 3, 4, 5, which mob"):
            autonl_tf.backbone(path, levels=levels)


@pytest.mark.parametrize("form", ["maps.keras", "maps.h5", "maps.weights.h5", "maps"])
def test_a_backbone_takes_the_weights_that_were_saved_of_it(form, tmp_path):
    path = tmp_path / "arch.txt"
    path.write_text(ARCH)
    base = autonl_tf.backbone(str(path), input_shape=(32, 32, 3), levels=(2, 3))
    rng = np.random.default_rng(0)
    for variable in base.variables:
        variable.assign_add(rng.uniform(size=variable.shape))
    base.save_weights(tmp_path / form) if form in ("maps.weights.h5", "maps") else base.save(tmp_path / form)
    again = autonl_tf.backbone(str(path), str(tmp_path / form), input_shape=(32, 32, 3), levels=(2, 3))
    for one, other in zip(base.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.name)
    with pytest.raises(autonl_tf.UserError, match=r"missing: .*head_conv"):
        autonl_tf.from_arch(str(path), False, str(tmp_path / form), input_shape=(32, 32, 3))


def test_a_backbone_trains_inside_another_model(tmp_path):
    path = tmp_path / "arch.txt"
    path.write_text(ARCH + "r1_k3_s22_e2_i12_o16\nr1_k3_s22_e2_i16_o16\n")  # from stride 8 to 32
    base = autonl_tf.backbone(str(path), input_shape=(32, 32, 3), levels=(3, 5), nonlocal_blocks="none")
    maps = base.output
    joined = keras.layers.Add()(
        [
            keras.layers.Conv2D(4, 1)(maps["reduction_3"]),
            keras.layers.UpSampling2D(4)(keras.layers.Conv2D(4, 1)(maps["reduction_5"])),
        ]
    )
    model = keras.Model(base.input, joined)
    model.compile("sgd", "mse")
    history = model.fit(VALUES.inputs(0, 2, 32), np.zeros([2, 4, 4, 4]), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_a_spec_of_other_strides_names_the_levels_it_has():
    spec = blockstring.parse("r1_k3_s33_e1_i32_o8\nr1_k3_s11_e1_i8_o8")
    from autonl_tf.api.applications import _reductions

    assert _reductions(spec) == {}
