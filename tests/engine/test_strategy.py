"""Strategies by kind: what each needs, and that every refusal is a user's error."""

import json

import pytest
import tensorflow as tf

from autonl_tf.engine import inputs, strategy
from autonl_tf.errors import UserError


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


def test_auto_takes_the_one_device_there_is():
    chosen = strategy.make_strategy("auto")
    assert chosen.num_replicas_in_sync == 1
    assert strategy.is_chief(chosen) and strategy.task_name(chosen) == "chief-0"


def test_mirrored_without_gpus_takes_the_logical_cpu_devices():
    chosen = strategy.make_strategy("mirrored")
    assert isinstance(chosen, tf.distribute.MirroredStrategy)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    assert chosen.num_replicas_in_sync == len(devices)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tpu", {"tpu": "local"}, "--tpu=local: no TPU"),
        ("auto", {"tpu": "local"}, "--tpu=local: no TPU"),
        ("multiworker", {}, "needs the environment variable TF_CONFIG"),
    ],
)
def test_what_cannot_be_is_a_user_error(kind, options, message):
    with pytest.raises(UserError, match=message) as error:
        strategy.make_strategy(kind, **options)
    assert "\n" not in str(error.value)


CLUSTER = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize(
    "config",
    [
        "{not json",
        json.dumps([]),
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": "first"}}),
    ],
)
@pytest.mark.parametrize("kind", ["multiworker", "auto"])
def test_a_wrong_tf_config_is_a_user_error(kind, config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG"):
        strategy.make_strategy(kind)


class Pretended:
    num_replicas_in_sync = 4


def test_a_batch_the_replicas_do_not_divide_is_a_user_error():
    assert strategy.per_replica_batch_size(Pretended(), 12, "train_batch_size") == 3
    for batch in (10, 0, -4):
        with pytest.raises(UserError, match=rf"--train_batch_size={batch}: .*multiple.* 4"):
            strategy.per_replica_batch_size(Pretended(), batch, "train_batch_size")


def test_batches_of_unknown_length_are_refused():
    dataset = tf.data.Dataset.range(10).batch(4)
    with pytest.raises(UserError, match="batch of None"):
        inputs.distribute(tf.distribute.get_strategy(), lambda shard, shards: dataset)
