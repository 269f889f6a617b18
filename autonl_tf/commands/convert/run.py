"""`--mode=convert`: an official checkpoint, or a file of the PyTorch port, to a directory like a training's."""

from __future__ import annotations

import pathlib

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint import tf1
from autonl_tf.checkpoint.ours import write_model_json, write_weights
from autonl_tf.commands.convert.flags import check_free
from autonl_tf.data.labels import LABELS, labels_text
from autonl_tf.engine import rundir
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.files import directory_in_place
from autonl_tf.prepare import checkpointed
from autonl_tf.records import ModelRecord, Origin
from autonl_tf.settings.config import Config
from autonl_tf.settings.next_commands import OF_CHECKPOINT, beside, next_command
from autonl_tf.streams import say


def run(config: Config) -> None:
    """Writes `--model_dir`: checkpoint, model.json, arch.txt, labels.txt, config.json; whole or not at all.

    The chosen set of weights becomes the converted moving averages, which every other mode uses by default. The
    plain variables stay plain variables, where the official checkpoint holds them all; else they too are the chosen.
    """
    network = checkpointed.load(config, from_pytorch=config.from_ == "pytorch")
    checkpoint, model, names = network.checkpoint, network.model, network.class_names
    averages = MovingAverages(averaged_variables(model), 0.0)
    _load_plain(network)
    description = ModelRecord(
        arch=blockstring.write(network.spec),
        input_image_size=network.image_size,
        crop_padding=network.crop_padding,
        depth_multiplier=network.depth_multiplier,
        class_names=names,
        classes_are_numbered=checkpoint.classes_are_numbered and not config.label_file,
        exif_orientation=checkpoint.exif_orientation,
        converted_from=Origin(checkpoint.where, network.loaded.averages, checkpoint.format),
    )
    target = pathlib.Path(config.model_dir)
    files = {"arch.txt": description.arch, LABELS: labels_text(names)}
    with directory_in_place(target) as aside:
        with rundir.prepare(aside, config.values, config.read(), files):
            write_model_json(aside, description)
            written = write_weights(aside, network.loaded.step or 0, model, averages)
        check_free(config.model_dir)  # it may have been filled in the meantime
    words = [f"--model_dir={config.model_dir}", f"--output={beside(config.model_dir, 'export')}"]
    print(
        f"converted {checkpoint.where}: {len(names)} classes, {network.image_size} px\n"
        f"written: {target}/checkpoints/{written.name}.*, model.json, arch.txt, {LABELS}, config.json\n"
        "next (--mode=eval with a --dataset scores it):\n"
        f"  {next_command(config, 'export', *words, without=(*OF_CHECKPOINT, 'label_file'))}"
    )


def _load_plain(network: checkpointed.Checkpointed) -> None:
    """Puts the plain variables into the model in place of the averages that were loaded, if there are any."""
    if network.checkpoint.format != "tf1" or not network.loaded.averages:
        return
    if tf1.holds_plain_variables(network.checkpoint.where, network.spec):
        network.checkpoint.load_into(network.model, use_averages=False)
        say("its plain variables are converted too")
    else:
        say("note: it does not hold every plain variable; the averages are written as both")
