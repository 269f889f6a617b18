"""What is chosen where no flag says so: by the number of images, told in one line, and never of what is given."""

import pathlib

import pytest
import tf_keras as keras
from absl import flags
from mode_cases import configure

from autonl_tf.cli import parsing
from autonl_tf.engine import rundir
from autonl_tf.engine.schedules import WarmupCosine, WarmupStaircase
from autonl_tf.errors import UserError
from autonl_tf.prepare import defaults, rates
from autonl_tf.settings import files

RMSPROP = "--optimizer=rmsprop"
TRAIN = ("--mode=train", "--arch=autonl_s", "--dataset=demo", "--model_dir=x")
SEARCH = ("--mode=search", "--dataset=demo", "--model_dir=x")
FLAGS = pathlib.Path(__file__).resolve().parents[2] / "flags"


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "tuned"),
    [
        (6, 16, 350, 35),
        (90, 16, 350, 35),
        (800, 32, 75, 8),
        (10_000, 128, 30, 3),
        (50_000, 256, 30, 3),
        (1_281_167, 256, 30, 3),
    ],
)
def test_batch_and_length_follow_the_number_of_images(images, batch, epochs, tuned):
    for start, expected in ((False, epochs), (True, tuned)):
        chosen = defaults.completed(configure(*TRAIN), images, start)
        assert (chosen.train_batch_size, chosen.train_epochs) == (batch, expected)


@pytest.mark.parametrize("images", [6, 800, 10_000, 1_281_167])
def test_horizons_are_shares_of_the_run_and_at_most_the_published_ones(images):
    chosen = defaults.completed(configure(*TRAIN), images)
    steps = rates.length_of(chosen, images).steps
    assert 1 / (1 - chosen.batch_norm_momentum) == pytest.approx(min(max(steps / 50, 5), 100), rel=1e-3)
    assert 1 / (1 - chosen.moving_average_decay) == pytest.approx(min(steps / 20, 10_000), rel=1e-2)
    assert chosen.lr_warmup_steps == steps // 10
    assert chosen.recalibrate_batches * chosen.train_batch_size >= min(images, 1024)
    assert chosen.light_nl_decay == pytest.approx(80 / images, rel=1e-2)
    assert steps / rates.length_of(chosen, images).steps_of(chosen.eval_every_epochs) <= 11


@pytest.mark.parametrize("images", [6, 800, 10_000, 1_281_167])
@pytest.mark.parametrize("words", [TRAIN, SEARCH])
def test_the_same_command_goes_on_with_a_run_whatever_was_chosen_for_it(words, images, tmp_path):
    """Its flags are compared with the run's before TensorFlow is imported, when the number of images is not known."""
    config = configure(*words, f"--model_dir={tmp_path}")
    chosen = defaults.completed(config, images)
    with rundir.prepare(tmp_path, chosen.values, chosen.read()):
        files.check_same_settings(config)
        files.check_same_settings(config.replaced(steps_per_loop=chosen.steps_per_loop))
        with pytest.raises(UserError, match=r"was made with --steps_per_loop=\d+, now it is --steps_per_loop=7;"):
            files.check_same_settings(config.replaced(steps_per_loop=7))


@pytest.mark.parametrize(("images", "steps"), [(800, 31), (1_281_167, 100)])
def test_a_short_run_has_points_for_its_curves(images, steps):
    assert defaults.completed(configure(*SEARCH), images).steps_per_loop == steps
    assert defaults.completed(configure(*TRAIN, "--train_steps=144"), images).steps_per_loop == 2


def test_batch_norm_stays_the_checkpoints_on_small_sets_unless_told_otherwise():
    def frozen(images, *words, tuned=True):
        return defaults.completed(configure(*TRAIN, *words), images, tuned).freeze

    assert (frozen(9_999), frozen(10_000), frozen(800, tuned=False)) == ("batch_norm", None, None)
    assert (frozen(800, "--freeze=none"), frozen(800, "--freeze=stem")) == ("none", "stem")
    assert frozen(800, "--qat", "--init_checkpoint=imagenet") is None
    assert frozen(800, "--lr_multipliers=head:2,batch_norm:0.1") is None
    before = configure(*TRAIN)
    assert "--freeze=batch_norm" in defaults.told(before, defaults.completed(before, 800, True), 800)


def test_quantization_aware_training_keeps_to_the_statistics_of_its_checkpoint():
    chosen = defaults.completed(configure(*TRAIN, "--qat", "--init_checkpoint=imagenet"), 100, tuned=True)
    assert (chosen.batch_norm_momentum, chosen.recalibrate_batches) == (0.99, 0)


def test_a_longer_set_is_searched_as_published():
    chosen = defaults.completed(configure(*SEARCH), 1_281_167)
    assert (chosen.train_epochs, chosen.lr_decay_epochs, chosen.lr_decay_rate) == (8, 2.4, 0.97)
    assert (chosen.base_learning_rate, chosen.batch_norm_momentum) == (0.016, 0.99)


def test_a_search_takes_its_rate_alone_from_a_checkpoint():
    before = configure(*SEARCH, "--init_checkpoint=y")
    scratch, tuned = (defaults.completed(before, 800, start) for start in (False, True))
    assert (tuned.base_learning_rate, defaults.new_factor(tuned)) == (0.001, 16)
    assert tuned.replaced(base_learning_rate=0.016) == scratch


def test_the_rate_ends_near_zero_unless_decays_are_given():
    for words, kind in (((), WarmupCosine), (("--lr_decay_rate=0.9",), WarmupStaircase)):
        chosen = defaults.completed(configure(*TRAIN, *words), 800)
        assert isinstance(rates.weights_optimizer(chosen, rates.length_of(chosen, 800))._learning_rate, kind)
    assert (chosen.lr_decay_epochs, chosen.lr_decay_rate) == (2.4, 0.9)


def test_what_is_given_stays_and_what_is_chosen_is_told():
    given = {
        **{"train_batch_size": 7, "train_epochs": 3.0, "base_learning_rate": 0.5, "lr_warmup_epochs": 1.5},
        **{
            "optimizer": "rmsprop",
            "batch_norm_momentum": 0.5,
            "moving_average_decay": 0.25,
            "recalibrate_batches": 0,
            "light_nl_decay": 0.0,
            "eval_every_epochs": 2.0,
            "steps_per_loop": 5,
        },
    }
    before = configure(*TRAIN, *(f"--{name}={value}" for name, value in given.items()))
    after = defaults.completed(before, 800)
    assert {name: after.values[name] for name in given} == given
    assert after == before and defaults.told(before, after, 800) is None
    before = configure(*TRAIN, "--train_steps=100", "--lr_warmup_steps=3")
    after = defaults.completed(before, 800)
    assert (after.train_epochs, after.lr_warmup_steps, after.lr_warmup_epochs) == (None, 3, None)
    told = defaults.told(before, after, 800)
    assert "for 800 images" in told and "--train_batch_size=32" in told and "--batch_norm_momentum=0.8 " in told
    assert "warmup" not in told and "train_epochs" not in told and "falls to 0" in told
    long = configure(*TRAIN, "--train_steps=100000000")
    completed = defaults.completed(long, 800).replaced(lr_warmup_steps=2_000_001)
    assert "--lr_warmup_steps=2000001 " in defaults.told(long, completed, 800)
    # What is told, given as flags, is the same run.
    words = [word for word in told.split() if word.startswith("--")]
    words = [word.rstrip(";") for word in words]
    again = defaults.completed(configure(*TRAIN, "--train_steps=100", "--lr_warmup_steps=3", *words), 800)
    assert again.values == after.values


@pytest.mark.parametrize(
    ("words", "tuned", "rate"),
    [((), False, 0.016), ((), True, 0.001), (("--freeze=backbone",), True, 0.0016), (("--freeze=stem",), True, 0.001)],
)
def test_the_rate_follows_from_what_is_trained(words, tuned, rate):
    assert defaults.completed(configure(*TRAIN, *words, RMSPROP), 800, tuned).base_learning_rate == rate


@pytest.mark.parametrize("images", [100, 800, 50_000])
def test_adam_peaks_at_the_same_rate_whatever_the_batch(images):
    for words, peak in (((), 0.0003), (("--freeze=backbone",), 0.001)):
        chosen = defaults.completed(configure(*TRAIN, *words), images, tuned=True)
        rate = rates.weights_optimizer(chosen, length := rates.length_of(chosen, images))._learning_rate
        assert isinstance(rates.weights_optimizer(chosen, length), keras.optimizers.Adam)
        assert max(float(rate(step)) for step in range(0, length.steps, 1 + length.steps // 500)) == pytest.approx(
            peak, rel=0.02
        )


def test_adam_is_for_trained_weights_unless_rmsprop_is_asked_for():
    def optimizer(*words, tuned=True, mode=TRAIN):
        return defaults.completed(configure(*mode, *words), 800, tuned).optimizer

    assert (optimizer(), optimizer(tuned=False), optimizer("--optimizer=adam", tuned=False)) == (
        *("adam", "rmsprop", "adam"),
    )
    assert {optimizer(RMSPROP), optimizer("--momentum=0.9"), optimizer(f"--flagfile={FLAGS}/train_s.flags")} == {
        "rmsprop"
    }
    assert optimizer("--qat", "--init_checkpoint=y") == "rmsprop"
    before = configure(*TRAIN)
    assert "--optimizer=adam" in defaults.told(before, defaults.completed(before, 800, True), 800)
    for words, said in (
        (("--optimizer=adam", "--momentum=0.9"), "--momentum is a setting of RMSProp"),
        (("--optimizer=adam", "--qat", "--init_checkpoint=y"), "--qat trains by RMSProp"),
    ):
        with pytest.raises(UserError, match=said):
            configure(*TRAIN, *words)


def test_light_nl_that_is_added_to_trained_weights_learns_as_from_scratch_unless_told_otherwise():
    def multipliers(tuned, *words):
        return defaults.completed(configure(*TRAIN, RMSPROP, *words), 800, tuned).lr_multipliers

    places = "--nonlocal=all:0.25-1"
    assert defaults.completed(configure(*TRAIN, places), 800, True).lr_multipliers == "nonlocal:3.33333"  # of Adam's
    assert multipliers(True, places) == "nonlocal:16"
    assert multipliers(False, places) is multipliers(True) is multipliers(True, "--nonlocal=none") is None
    assert multipliers(True, places, "--lr_multipliers=backbone:0.1") == "backbone:0.1"
    rates_given = {"0.004": "nonlocal:4", "0.1": "nonlocal:1", "1e-9": "nonlocal:1000"}
    assert {r: multipliers(True, places, f"--base_learning_rate={r}") for r in rates_given} == rates_given
    before = configure(*TRAIN, RMSPROP, places)
    assert "--lr_multipliers=nonlocal:16" in defaults.told(before, defaults.completed(before, 800, True), 800)


def test_simulated_int8_keeps_its_statistics():
    words = ("--qat", "--init_checkpoint=y")
    chosen = defaults.completed(configure(*TRAIN, *words), 800, tuned=True)
    assert chosen.recalibrate_batches == 0 and chosen.base_learning_rate == 0.0016


@pytest.mark.parametrize("path", sorted(FLAGS.glob("*.flags")), ids=lambda path: path.stem)
def test_a_recipe_leaves_nothing_open(path, monkeypatch):
    monkeypatch.chdir(FLAGS.parent)
    values = flags.FlagValues()
    parsing.define_flags(values)
    values(["main.py", f"--flagfile={path}", "--dataset=demo", "--model_dir=x"])
    before = parsing.from_flags(values)
    for images in (800, 1_281_167):
        chosen = defaults.completed(before, images)  # a visit of the host changes no number
        assert chosen.replaced(steps_per_loop=before.steps_per_loop) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--train_steps=40", "--lr_warmup_steps=39"), False),
        (("--train_steps=40", "--lr_warmup_steps=40"), True),
        (("--train_epochs=3", "--lr_warmup_epochs=5"), True),
    ],
)
def test_a_warm_up_that_outlasts_the_run_is_told(words, told, capsys):
    config = configure(*TRAIN, "--train_batch_size=8", *words)
    rates.tell_warmup(config, rates.length_of(config, 100))
    said = capsys.readouterr()
    assert ("the learning rate only rises" in said.out + said.err) is told
