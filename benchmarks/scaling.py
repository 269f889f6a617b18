"""What a search and a training on ImageNet need and may take on larger machines: the figures of docs/scaling.md.

Counts MACs, parameters and activations of the networks at 224 px, and reckons with published peak rates; every
assumption is a constant below. With --measure it times real training and search steps on this machine's processor
first. Ends in one line of JSON.

    python benchmarks/scaling.py [--measure] [--batch=16] [--steps=3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import tensorflow as tf
from support import training_step

from autonl_tf.arch import presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.engine.batch_norm import is_batch_norm
from autonl_tf.networks.network import build_network
from autonl_tf.space import space as space_lib

SIZE, CLASSES, IMAGES = 224, 1000, 1_281_167
EPOCHS = {"search": 8, "train": 350}
# name: (peak float32 operations a second, bytes a second from memory, bytes of memory), of one replica; data sheets.
DEVICES = {
    "V100 SXM2": (15.7e12, 900e9, 32e9),
    "TPU v4 chip": (275e12, 1200e9, 32e9),  # bfloat16 products, which is how a TPU multiplies float32
}
MACHINES = {"1 GPU": ("V100 SXM2", 1), "8 GPUs": ("V100 SXM2", 8), "32 GPUs": ("V100 SXM2", 32),
            "TPU v4-32": ("TPU v4 chip", 16)}  # fmt: skip
# Shares of the peaks that are reached: small and depthwise convolutions fill no large multiplier.
COMPUTE_SHARE, MEMORY_SHARE = 0.3, 0.6
# A step's multiplications over the forward pass's: forward, gradient to the inputs, gradient to the weights.
BACKWARD = 3
# How often a step moves an activation: written, read by what follows and by batch norm's statistics; in the backward
# pass read twice, its gradient written and read.
PASSES = 7
FLOAT = 4
# Copies of every weight: itself, gradient, two slots of RMSProp, moving average.
COPIES = 5


def activations(model) -> int:
    """Elements of all layers' outputs for one image: what a training step keeps for the backward pass."""
    return sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers[1:])


def describe(spec, name: str) -> dict:
    total = network_cost(spec, image_size=SIZE, num_classes=CLASSES).total
    model = build_network(spec, image_size=SIZE, num_classes=CLASSES)
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    channels = sum(int(layer.gamma.shape[0]) for layer in model.submodules if is_batch_norm(layer))
    return {"name": name, "macs": total.macs, "parameters": trained, "activations": activations(model),
            "batch_norm_channels": channels}  # fmt: skip


def measured(spec, space, batch: int, steps: int) -> dict[str, float]:
    """Seconds an image of a training and of a search step on this processor, medians after a first step."""
    shape, seconds = {"image_size": SIZE, "batch": batch, "classes": CLASSES}, {}
    iterator = training_step.batches(SIZE, batch, CLASSES)
    kinds = {"train": (training_step.train_function, spec), "search": (training_step.search_function, space)}
    for name, (make, of) in kinds.items():
        function, times = make(of, **shape), []
        for _ in range(steps + 1):
            began = time.perf_counter()
            function(iterator, 1)
            times.append(time.perf_counter() - began)
        seconds[name] = statistics.median(times[1:]) / batch
        print(f"{name}: {seconds[name]:.3f} s an image (batch {batch}, median of {steps})", flush=True)
    return seconds


def reckoned(network: dict, job: str, machine: str) -> dict:
    """One row of the table."""
    device, replicas = MACHINES[machine]
    operations, bandwidth, memory = DEVICES[device]
    batch = 4096 if job == "train" else 1024
    compute = 2 * network["macs"] * BACKWARD / (operations * COMPUTE_SHARE)
    traffic = network["activations"] * FLOAT * PASSES / (bandwidth * MEMORY_SHARE)
    per_image = max(compute, traffic)
    fixed = network["parameters"] * FLOAT * COPIES
    per_replica = batch // replicas
    needed = fixed + per_replica * network["activations"] * FLOAT
    micro_batches = 1
    while fixed + per_replica / micro_batches * network["activations"] * FLOAT > 0.8 * memory:
        micro_batches *= 2
    return {
        "network": network["name"], "machine": machine, "replicas": replicas, "batch": batch,
        "memory_gb": needed / 1e9, "micro_batches": micro_batches,
        "memory_gb_with_micro_batches": (fixed + per_replica / micro_batches * network["activations"] * FLOAT) / 1e9,
        "all_reduced_mb": network["parameters"] * FLOAT / 1e6 if replicas > 1 else 0.0,
        "sync_batch_norm_mb": network["batch_norm_channels"] * 4 * FLOAT / 1e6 if replicas > 1 else 0.0,
        "bound": "compute" if compute > traffic else "memory",
        "images_per_second": replicas / per_image,
        "hours": EPOCHS[job] * IMAGES * per_image / replicas / 3600,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    space, spec = space_lib.load("paper"), presets.load("autonl_s")
    networks = {
        "search": [describe(space.largest(), "paper's space, largest member")],
        "train": [describe(presets.load(name), name) for name in ("autonl_s", "autonl_l")],
    }
    for network in networks["search"] + networks["train"]:
        print(network)
    rows = [reckoned(network, job, machine) for job in networks for network in networks[job] for machine in MACHINES]
    for row in rows:
        print(
            f"{row['network']:<30}{row['machine']:<10} batch {row['batch']}: {row['memory_gb']:7.1f} GB a replica "
            f"(1/{row['micro_batches']}: {row['memory_gb_with_micro_batches']:.1f}), {row['all_reduced_mb']:5.1f} MB "
            f"all-reduced, {row['images_per_second']:8.0f} images/s ({row['bound']}), {row['hours']:8.1f} h"
        )
    result = {"networks": networks, "rows": rows}
    if options.measure:
        seconds = measured(spec, space, options.batch, options.steps)
        result["measured"] = {
            "seconds_per_image": seconds,
            "hours": {job: EPOCHS[job] * IMAGES * seconds[job] / 3600 for job in EPOCHS},
            "train_gigaflops": 2 * networks["train"][0]["macs"] * BACKWARD / seconds["train"] / 1e9,
        }
        print(result["measured"])
    print(json.dumps({"tensorflow": tf.__version__, **result}))


if __name__ == "__main__":
    main()
