"""The loop: resuming, saving, best copy, logs, and stopping when the numbers go bad."""

import io
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from engine_tiny_run import BATCH, CLASSES, EXAMPLES, Run, eval_dataset, make_model, train_dataset
from official_checkpoints import checkpoint_at

from autonl_tf import signals
from autonl_tf.checkpoint import description, matching, ours
from autonl_tf.engine import checkpoints, learner, loop
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.names import by_name
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.runlog import RunLog, format_seconds
from autonl_tf.errors import UserError
from autonl_tf.records import ModelRecord


class Killed(Exception):
    pass


def killer(at_step):
    def after_loop(step):
        if step >= at_step:
            raise Killed

    return after_loop


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: (its directory, its state)."""
    directory = tmp_path_factory.mktemp("whole")
    run = Run()
    result = run.go(directory)
    assert (result.step, run.started_at) == (20, 0)
    return directory, run.everything()


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)


def test_weights_that_no_step_betters_stay_the_best_copy(tmp_path, capsys):
    run = Run()
    before = {name: variable.numpy() for name, variable in by_name(run.model.variables).items()}
    result = run.go(tmp_path, total_steps=4, start_scores={"top1": 1.0, "loss": 0.1})
    assert (
        result.best.step == 0 and "(best so far)" in capsys.readouterr().err.split("before training")[1].splitlines()[0]
    )
    assert [path.name for path in (tmp_path / "best").glob("*.index")] == ["ckpt-0.index"]
    copy = make_model()
    assert load_weights(tmp_path, copy).prefix.endswith("best/ckpt-0")
    assert all(np.array_equal(before[name], variable.numpy()) for name, variable in by_name(copy.variables).items())


def test_killed_twice_and_resumed_ends_bit_for_bit_as_uninterrupted(whole, tmp_path):
    for kill_at in (10, 14):
        with pytest.raises(Killed):
            Run().go(tmp_path, after_loop=killer(kill_at))
    run = Run()
    result = run.go(tmp_path)
    assert run.started_at == 12
    assert same(run.everything(), whole[1])
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert result.best.step == json.loads((whole[0] / "best" / "best.json").read_text())["step"]


def test_so_does_a_run_with_adam(tmp_path):
    def adam(rate):
        return keras.optimizers.Adam(rate, jit_compile=False)

    whole = Run(new_optimizer=adam)
    whole.go(tmp_path / "whole")
    with pytest.raises(Killed):
        Run(new_optimizer=adam).go(tmp_path / "killed", after_loop=killer(10))
    run = Run(new_optimizer=adam)
    run.go(tmp_path / "killed")
    assert run.started_at == 8 and same(run.everything(), whole.everything())


@pytest.mark.parametrize("put_in_its_place", [False, True])
def test_a_run_directory_that_is_moved_away_is_not_made_again(tmp_path, put_in_its_place):
    place, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    place.mkdir()

    def move(step):
        if step == 6:
            place.rename(elsewhere)
            if put_in_its_place:
                place.mkdir()

    with pytest.raises(UserError, match=r"/run: was moved away or replaced .*: step 6 is not saved; move it back"):
        Run().go(place, after_loop=move)
    assert list(place.rglob("*")) == [] and place.exists() == put_in_its_place
    assert checkpoints.steps_saved(elsewhere / "checkpoints") == [4]
    if put_in_its_place:
        place.rmdir()
    elsewhere.rename(place)
    assert Run().go(place).step == 20


def test_an_evaluation_that_is_not_finite_is_never_the_best(tmp_path):
    scores = iter([(np.nan, 0.9), (1.0, 0.5), (np.inf, 0.8), (2.0, 0.4)])

    def evaluate():
        loss, top1 = next(scores)
        return {"top1": top1, "loss": loss}

    assert Run().go(tmp_path, evaluate=evaluate).best.metric == 0.5
    assert Run().go(tmp_path / "none", total_steps=6, evaluate=lambda: {"top1": 0.9, "loss": np.nan}).best is None
    assert Run().go(tmp_path / "far", total_steps=6, evaluate=lambda: {"top1": 0.9, "beyond_float16": 1}).best is None


def test_of_equal_top1_the_copy_with_the_lowest_loss_is_the_best(tmp_path):
    losses = iter([2.0, 1.0, 1.5])
    best = (
        Run().go(tmp_path, evaluate=lambda: {"top1": 0.5, "loss": next(losses)}, total_steps=6, evaluate_every=2).best
    )
    assert (best.step, best.loss) == (4, 1.0)


def test_an_early_evaluation_no_better_than_chance_is_never_the_best(tmp_path, capsys):
    best = (
        Run()
        .go(
            tmp_path,
            total_steps=7,
            evaluate=lambda: {"top1": 0.5, "loss": 5.0},
            evaluate_every=2,
            guessed_loss=2.5,
        )
        .best
    )
    assert best.step == 4
    assert "step 2: validation top-1 50.00%, loss 5 (batch norm's statistics still follow" in capsys.readouterr().err


def test_a_step_just_before_the_end_is_not_evaluated_besides_the_end(tmp_path):
    run = Run()
    run.go(tmp_path, total_steps=11, evaluate=lambda: {"top1": 0.5, "loss": 1.0}, evaluate_every=5, save_every=50)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["phase"] == "validation"] == [5, 11]


def test_metrics_have_every_step_once_in_order(whole):
    records = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["phase"] == "train"] == list(range(2, 21, 2))
    assert [r["step"] for r in records if r["phase"] == "validation"] == [6, 12, 18, 20]
    assert {r["epoch"] for r in records if r["step"] == 10} == {2.0}
    assert records[0]["values"].keys() >= {"loss", "top1", "learning_rate", "weight_decay"}


def test_a_finished_run_started_again_changes_nothing(whole, tmp_path):
    before = (whole[0] / "metrics.jsonl").read_bytes()
    run = Run()
    result = run.go(whole[0])
    assert result.step == 20
    assert same(run.everything(), whole[1])
    assert (whole[0] / "metrics.jsonl").read_bytes() == before
    with pytest.raises(UserError, match="beyond the 12"):
        Run().go(whole[0], total_steps=12)


def test_three_checkpoints_and_one_best_are_kept(whole):
    assert checkpoints.steps_saved(whole[0] / "checkpoints") == [12, 16, 20]
    assert len(checkpoints.steps_saved(whole[0] / "best")) == 1


def test_steps_learn_something(whole):
    records = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    losses = [r["values"]["loss"] for r in records if r["phase"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_xla_compiled_step_gives_the_same_losses():
    plain, compiled = Run(), Run(jit_compile=True)
    first, second = plain.train(plain.batches(), 5), compiled.train(compiled.batches(), 5)
    assert first["loss"][0] == pytest.approx(second["loss"][0], rel=1e-5)
    for name, value in plain.everything().items():
        np.testing.assert_allclose(compiled.everything()[name], value, rtol=1e-3, atol=1e-5)


def test_a_non_finite_loss_stops_with_its_step_and_the_last_good_checkpoint(tmp_path):
    def poisoned(start):
        def spoil(step, batch):
            images, labels = batch
            return tf.where(step + start == 8, np.nan, images), labels

        run_batches = run.batches(start)
        dataset = tf.data.Dataset.from_generator(
            lambda: run_batches,
            output_signature=(tf.TensorSpec([BATCH, 6, 6, 3]), tf.TensorSpec([BATCH], tf.int32)),
        )
        return iter(dataset.enumerate().map(spoil))

    run = Run()
    with pytest.raises(UserError, match=r"not finite at step 9; .*ckpt-8;.*learning rate"):
        run.go(tmp_path, make_batches=poisoned, evaluate=None, steps_per_loop=4)
    assert checkpoints.steps_saved(tmp_path / "checkpoints") == [4, 8]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    run = Run()
    saver = checkpoints.Checkpoints(tmp_path, run.learner)
    run.learner.step.assign(1)
    saver.save(1)
    run.learner.step.assign(2)
    run.model.get_layer("conv").bias.assign([np.nan] * 5)
    with pytest.raises(UserError, match=r"conv/bias.*ckpt-1"):
        saver.save(2)
    assert checkpoints.steps_saved(tmp_path / "checkpoints") == [1]
    with pytest.raises(RuntimeError), run.averages.swapped_in():
        saver.save(2)
    with pytest.raises(ValueError, match="learner is at 2"):
        saver.save(3)


@pytest.mark.parametrize("fault", ["short data", "short index", "lost data"])
def test_a_broken_newest_checkpoint_gives_way_to_the_one_before(fault, tmp_path):
    with pytest.raises(Killed):
        Run().go(tmp_path, after_loop=killer(10), evaluate=None)
    newest = tmp_path / "checkpoints" / "ckpt-8"
    data, index = f"{newest}.data-00000-of-00001", f"{newest}.index"
    if fault == "lost data":
        (tmp_path / "checkpoints" / "ckpt-8.data-00000-of-00001").unlink()
    else:
        path = data if fault == "short data" else index
        with open(path, "r+b") as file:
            file.truncate(100)
    told = []
    run = Run()
    assert checkpoints.Checkpoints(tmp_path, run.learner, told.append).restore_latest() == 4
    assert run.learner.current_step == 4
    assert len(told) == 1 and "ckpt-8" in told[0] and "step 4" in told[0]


def test_no_readable_checkpoint_at_all_is_an_error_and_leftovers_go(tmp_path):
    run = Run()
    saver = checkpoints.Checkpoints(tmp_path, run.learner)
    run.learner.step.assign(1)
    saver.save(1)
    leftover = tmp_path / "checkpoints" / "ckpt-2.data-00000-of-00001"
    leftover.write_bytes(b"cut short")
    with open(tmp_path / "checkpoints" / "ckpt-1.index", "r+b") as file:
        file.truncate(10)
    with pytest.raises(UserError, match="no readable checkpoint"):
        saver.restore_latest()
    assert not leftover.exists()


def load_weights(path, model, use_averages=True):
    """The weights of a checkpoint of this program into a model that no `model.json` describes."""
    chosen = ours.choose(str(checkpoint_at(path)), use_averages)
    matching.assign(by_name(model.variables), chosen.stored)
    return chosen.loaded


def test_load_weights_gives_averages_or_plain_variables_exactly(whole):
    best = json.loads((whole[0] / "best" / "best.json").read_text())["step"]
    assert best == 20  # so that the state at the end is the best copy's
    for use_averages, prefix in ((True, "average "), (False, "")):
        model = make_model()
        loaded = load_weights(whole[0], model, use_averages)
        assert loaded.step == 20 and loaded.prefix.endswith("best/ckpt-20")
        for variable in model.variables:
            name = prefix + (variable.name if not prefix else variable.name.split(":")[0])
            np.testing.assert_array_equal(variable.numpy(), whole[1][name])
    loaded = load_weights(whole[0] / "checkpoints" / "ckpt-16", make_model())
    assert loaded.step == 16


def test_load_weights_lists_what_does_not_fit_and_changes_nothing(whole):
    model = make_model(with_batch_norm=False, classes=CLASSES + 1)
    before = [v.numpy() for v in model.variables]
    with pytest.raises(UserError) as error:
        load_weights(whole[0], model)
    text = str(error.value)
    assert "4 unexpected: bn/beta (5,), bn/gamma (5,), bn/moving_mean (5,), bn/moving_variance (5,)" in text
    assert "2 mismatched: logits/bias (checkpoint (4,), network (5,)), logits/kernel" in text
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.variables, strict=True))
    with pytest.raises(UserError, match="no checkpoint"):
        load_weights(whole[0] / "tensorboard", make_model())
    with pytest.raises(UserError, match="no checkpoint"):
        load_weights(whole[0] / "nowhere", make_model())


def test_load_weights_without_averages_says_so(tmp_path):
    model = make_model()
    plain = learner.Learner(model, [(TF1RMSprop(0.1), model.trainable_variables)])
    plain.step.assign(3)
    checkpoints.Checkpoints(tmp_path, plain).save(3)
    with pytest.raises(UserError, match="no moving averages"):
        load_weights(tmp_path, make_model())
    assert load_weights(tmp_path, make_model(), use_averages=False).step == 3


def test_model_json_is_found_beside_directory_and_prefix(tmp_path):
    with pytest.raises(UserError, match=r"no model\.json"):
        description.read_model_json(tmp_path)
    described = ModelRecord("r1_k3_s11_e1_i32_o8", 32, 0, 1.0, ("a", "b"))
    ours.write_model_json(tmp_path, described)
    (tmp_path / "best").mkdir()
    for path in (tmp_path, tmp_path / "best" / "ckpt-7"):
        assert description.read_model_json(path) == described


def test_every_trainable_variable_needs_one_optimizer():
    model = make_model()
    with pytest.raises(ValueError, match="logits/bias"):
        learner.Learner(model, [(TF1RMSprop(0.1), model.trainable_variables[:-1])])
    groups = [(TF1RMSprop(0.1), model.trainable_variables), (TF1RMSprop(0.1), model.trainable_variables[:1])]
    with pytest.raises(ValueError, match="conv/kernel"):
        learner.Learner(model, groups)


def test_an_objective_that_leaves_out_a_variable_is_refused():
    run = Run()
    train = learner.make_train_function(
        run.strategy, run.learner, lambda images, labels, step: (tf.reduce_sum(run.model.variables[0]), {})
    )
    with pytest.raises(ValueError, match="logits/kernel"):
        train(run.batches(), 1)


def test_two_groups_state_and_after_update_work_together(tmp_path):
    """What the search needs: a second optimizer, a clipped variable, and a multiplier set by the host."""
    run = Run()
    with run.strategy.scope():
        model = make_model()
        multiplier = tf.Variable(0.0, trainable=False, name="multiplier")
        slow, fast = model.trainable_variables[:-1], model.trainable_variables[-1:]
        averages = MovingAverages(model.trainable_variables, 0.9)
        both = learner.Learner(
            model, [(TF1RMSprop(0.01), slow), (TF1RMSprop(1.0), fast)], averages, {"multiplier": multiplier}
        )

    def objective(images, labels, step):
        loss = tf.reduce_mean(tf.square(model(images, training=True))) + tf.reduce_sum(fast[0])
        return loss, {"multiplier": (multiplier.read_value(), 1.0), "step": (tf.cast(step, tf.float32), 1.0)}

    def clip(step):
        fast[0].assign(tf.clip_by_value(fast[0], -0.25, 0.25))

    train = learner.make_train_function(run.strategy, both, objective, clip)
    multiplier.assign(3.0)
    metrics = train(run.batches(), 4)
    assert metrics["multiplier"] == (12.0, 4.0)
    assert metrics["step"] == (0.0 + 1 + 2 + 3, 4.0)
    assert metrics["learning_rate"][0] == pytest.approx(0.04)
    assert metrics["learning_rate_1"][0] == pytest.approx(4.0)
    assert fast[0].numpy().min() == -0.25
    assert averages.shadows["logits/bias"].numpy().min() >= -0.25  # clipped before averaging
    checkpoints.Checkpoints(tmp_path, both).save(4)
    multiplier.assign(0.0)
    assert checkpoints.Checkpoints(tmp_path, both).restore_latest() == 4
    assert multiplier.numpy() == 3.0


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_rewrites_its_line_on_a_terminal_and_adds_plain_lines_elsewhere(tmp_path):
    for stream, rewritten in ((Terminal(), True), (io.StringIO(), False)):
        log = RunLog(tmp_path, 100, images_per_step=50, steps_per_epoch=1, stream=stream)
        for step in (10, 20):
            log.progress(step, 5.0, 10, {"loss": 1.25})
        log.message("done")
        log.close()
        text = stream.getvalue()
        assert "loss 1.25 | 100 images/s" in text
        assert text.count("\r") == (2 if rewritten else 0)
        assert ("40s left" in text) == rewritten  # the second plain line comes too soon after the first
        assert text.endswith("\ndone\n")
        assert "\r" not in text.splitlines()[-1]


def test_log_drops_later_lines_and_a_torn_last_one_but_refuses_other_damage(tmp_path):
    def fresh():
        return RunLog(tmp_path, 10, images_per_step=1, steps_per_epoch=1, stream=io.StringIO())

    log = fresh()
    log.resume(0)
    for step in (2, 4, 6):
        log.write("train", step, {"loss": float("nan") if step == 4 else 1.0})
    log.close()
    path = tmp_path / "metrics.jsonl"
    with open(path, "a") as file:
        file.write('{"step": 8, "epo')
    log = fresh()
    log.resume(4)
    log.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["step"] for record in records] == [2, 4]
    assert records[1]["values"] == {"loss": None}
    path.write_text("not a record\n" + path.read_text())
    with pytest.raises(UserError, match="line 1"):
        fresh().resume(4)


def test_only_the_chief_writes(tmp_path):
    log = RunLog(tmp_path, 10, images_per_step=1, steps_per_epoch=1, is_chief=False, stream=io.StringIO())
    log.resume(0)
    log.write("train", 1, {"loss": 1.0})
    log.progress(1, 1.0, 1, {})
    log.message("hello")
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_seconds_are_written_for_people():
    assert [format_seconds(s) for s in (0.4, 59.6, 200, 7500)] == ["0s", "1m00s", "3m20s", "2h05m"]


def test_an_evaluation_that_waits_for_others_is_seen():
    run, seen = Run(), []
    signals.Watch(lambda number, progress: None)
    try:
        with signals.watched("other workers", 100.0, 43) as progress:

            def batches():
                for batch in eval_dataset():
                    seen.append(progress._began is not None)
                    yield batch

            run.evaluator(batches(), EXAMPLES - 3)
        assert seen and all(seen) and progress._began is None
    finally:
        signals.Watch.current = None
        signal.set_wakeup_fd(-1)


def test_a_second_sigint_ends_at_once_and_the_first_does_where_nothing_can_be_saved(monkeypatch):
    monkeypatch.setattr(signals, "_raised", None)
    request = loop._Request(at_once=False)
    request.note(signal.SIGINT)
    assert signals.replaced() is None
    for there in (request, loop._Request(at_once=True)):
        with pytest.raises(KeyboardInterrupt):
            there.note(signal.SIGINT)
        assert signals.replaced() == signal.SIGINT
    with pytest.raises(loop.Preempted):
        loop._Request(at_once=True).note(signal.SIGTERM)
    assert signals.replaced() == signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 42), (signal.SIGINT, 130)])
def test_a_signal_ends_a_long_loop_after_a_step_and_the_rest_is_as_if_nothing_had_been(number, code, tmp_path):
    halted, resumed, whole = Run(), Run(), Run()

    def signalling(start):
        def seen(step):
            if step == 6:
                halted.learner.halt()  # as the watch does
                os.kill(os.getpid(), number)
            return step

        steps = tf.data.Dataset.counter(start, 1, dtype=tf.int64)
        seen_steps = steps.map(lambda step: tf.ensure_shape(tf.numpy_function(seen, [step], tf.int64), []))
        return iter(tf.data.Dataset.zip(train_dataset(start), seen_steps).map(lambda batch, step: batch))

    with pytest.raises(loop.Preempted, match=str(code)):
        halted.go(tmp_path / "run", steps_per_loop=20, evaluate=None, save_every=20, make_batches=signalling)
    saved = halted.learner.current_step
    assert 1 < saved < 20
    resumed.go(tmp_path / "run", steps_per_loop=20, evaluate=None, save_every=20)
    assert resumed.started_at == saved
    whole.go(tmp_path / "whole", steps_per_loop=20, evaluate=None, save_every=20)
    expected = whole.everything()
    for name, value in resumed.everything().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    first, second = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("run", "whole"))
    assert first == second and len(first.splitlines()) == 1
