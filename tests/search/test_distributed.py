"""The search on two devices: gates, thresholds and distances are the same on both."""

import json
import subprocess
import sys

CODE = """
import json
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from autonl_tf.arch import space as space_lib
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.engine.inputs import distribute
from autonl_tf.engine.learner import Learner, make_train_function
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.strategy import make_strategy
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import optimizer_groups, search_objective
from autonl_tf.search.schedule import SearchSchedule

SPACE = {
    "candidates": {"kernels": [3, 5], "expansions": [3, 6], "se_ratios": [0.25], "nonlocal_ratios": [0.25, 0.5],
                   "nonlocal_strides": [2, 1]},
    "blocks": [{"block": "r2_k5_s22_e6_i32_o32"}],
}
strategy = make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
schedule = SearchSchedule(10, 2, 2, 0.6, 0.2, 0.3, 3.0)
with strategy.scope():
    supernet = Supernet(space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, name="supernet")
    groups = optimizer_groups(supernet, TF1RMSprop(0.01), schedule)
    learner = Learner(supernet, groups, MovingAverages(averaged_variables(supernet), 0.9999))
cost = GateCost(supernet.table, image_size=16, num_classes=3)
objective = search_objective(supernet, cost, schedule, global_batch_size=8, num_replicas=2, label_smoothing=0.1,
                             weight_decay_rate=1e-5, seed=0)
train = make_train_function(strategy, learner, objective, lambda step: supernet.track(schedule.settled(step)))
rng = np.random.default_rng(0)
data = (rng.normal(size=[64, 16, 16, 3]).astype("f4"), rng.integers(3, size=64).astype("i4"))
batches = lambda shard, shards: tf.data.Dataset.from_tensor_slices(data).repeat().batch(8, drop_remainder=True)
metrics = train(iter(distribute(strategy, batches)), 6)
copies = {name: [copy.numpy().tolist() for copy in strategy.experimental_local_results(getattr(supernet, name))]
          for name in ("thresholds", "margins", "distances")}
print(json.dumps({"loss": metrics["loss"], "macs": metrics["macs"], "copies": copies}))
"""


def test_every_replica_holds_the_same_gates_and_the_thresholds_move():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    for name, (first, second) in result["copies"].items():
        assert first == second, name
    assert any(threshold > 0 for threshold in result["copies"]["thresholds"][0])
    assert any(distance < 1 for distance in result["copies"]["distances"][0])
    assert result["loss"][0] > 0
    assert result["macs"][0] / result["macs"][1] > 1e6
