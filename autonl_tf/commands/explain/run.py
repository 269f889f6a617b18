"""`--mode=explain`: where a network's non-local blocks look, as one picture an image."""

from __future__ import annotations

import pathlib

import numpy as np

from autonl_tf.checkpoint.blocks import block_of, told
from autonl_tf.commands.explain.flags import query_points, targets
from autonl_tf.data.images import displayable
from autonl_tf.engine.batch_norm import batch_norms
from autonl_tf.networks.affinity import affinities
from autonl_tf.pictures.affinity import draw_affinities
from autonl_tf.plain_text import in_a_line
from autonl_tf.prepare import checkpointed
from autonl_tf.settings.config import Config
from autonl_tf.settings.files import matching
from autonl_tf.streams import say


def run(config: Config) -> None:
    """Writes `--output`/NAME.png for every image of `--images`, and prints their paths.

    The maps of a network trained with `--qat` are those of its float weights, without the simulated int8.
    """
    points, files = query_points(config.query_points), matching(config.images)
    target_of = dict(zip(files, targets(config.output, files), strict=True))
    network = checkpointed.load(config)
    model = network.float_model
    norms = [layer for layer in batch_norms(model) if block_of(layer.name)]
    if idle := {block_of(norm.name) for norm in norms if not np.any(norm.gamma)}:
        say(f"note: {told(idle)} changes nothing yet (its last gamma is 0): its maps are those of untrained weights")
    usable, batches = checkpointed.images_for(config, network, files)
    pathlib.Path(config.output).mkdir(parents=True, exist_ok=True)
    done = 0
    for images, weights in batches:
        blocks = affinities(model, images, points)
        for index in range(int(weights.numpy().sum())):
            pixels = displayable(images[index].numpy(), network.spec.normalization)
            maps = [(block.name, block.maps[index]) for block in blocks]
            name, target = in_a_line(pathlib.Path(usable[done]).name), target_of[usable[done]]
            draw_affinities(pixels, points, maps, target, title=f"{name}: affinity with the point +")
            print(in_a_line(target))
            done += 1
    say(f"images drawn: {done} of {len(files)}; blocks: {len(blocks)}; points: {len(points)}")
