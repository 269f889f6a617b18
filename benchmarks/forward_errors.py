"""How far our logits are from the official ones: relative L2, weights always loaded from official checkpoints.

Against the release's own numbers: the small network and AutoNL-S. Against the NumPy float64 forward pass of tests/:
AutoNL-L and the 40 random networks. With --photographs (class folders of ImageNet pictures) and --golden (an archive
of the release's `files`, `logits` and `pixels[::16, ::16]` before normalization, AutoNL-S with the golden weights):
pixels and five best classes of those files, by `--mode=predict`. Ends in one line of JSON.

    python benchmarks/forward_errors.py [--photographs=DIR --golden=photos.npz]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
from support.main_py import ROOT, main_py

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from forward_cases import compare, size_for  # noqa: E402 - needs the path above
from golden_data import TESTDATA, VALUES, averaged_network, relative_l2  # noqa: E402
from numpy_forward import Forward, Weights  # noqa: E402
from official_checkpoints import statistics_of, write_checkpoint  # noqa: E402

from autonl_tf.arch import blockstring, presets  # noqa: E402
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX  # noqa: E402
from autonl_tf.data import images  # noqa: E402
from autonl_tf.engine.rundir import git_commit, versions  # noqa: E402


def against_the_release() -> dict[str, float]:
    errors = {}
    for name, seed, batch, size, classes in (("tiny", 7, 4, 64, 10), ("autonl_s", 3, 2, 224, 1000)):
        golden = np.load(TESTDATA / "forward" / f"{name}.npz")["logits_ema"]
        errors[name] = relative_l2(averaged_network(name, size, classes)(VALUES.inputs(seed, batch, size)), golden)
    return errors


def against_numpy(work: pathlib.Path) -> dict[str, object]:
    """Logits of AutoNL-L; of the random networks the logits' and the worst block's error in the worst of them."""
    lines = blockstring.write(presets.load("autonl_l")).split()
    autonl_l, _ = compare(lines, work, size=224, classes=1000)
    worst = []
    for number, network in enumerate(json.loads((TESTDATA / "presets" / "random_archs.json").read_text())):
        lines, multiplier = network["arch"], network["depth_multiplier"]
        errors, _ = compare(lines, work, size=size_for(lines), classes=1000, multiplier=multiplier)
        worst.append((errors[-1], max(errors)))
        print(f"random network {number}: logits {errors[-1]:.1e}, worst block {max(errors):.1e}", file=sys.stderr)
    logits, blocks = zip(*worst, strict=True)
    return {
        "autonl_l": autonl_l[-1],
        "random_networks": len(worst),
        "random_logits_worst": max(logits),
        "random_logits_median": float(np.median(logits)),
        "random_block_worst": max(blocks),
    }


def on_photographs(folder: pathlib.Path, golden_path: str, work: pathlib.Path) -> dict[str, object]:
    """`--mode=predict` straight from an official checkpoint of AutoNL-S against the release's answers."""
    golden = np.load(golden_path)
    weights = Weights(VALUES.value, AVERAGE_SUFFIX, statistics_of(TESTDATA / "forward/autonl_s_moving_statistics.npz"))
    Forward(blockstring.write(presets.load("autonl_s")).split(), np.zeros([1, 224, 224, 3]), 1000, weights)
    prefix = write_checkpoint(work / "autonl_s" / "bestmodel.ckpt", weights.values)
    words = ["--mode=predict", "--arch=autonl_s", f"--init_checkpoint={prefix}", f"--images={folder}/*/*"]
    seconds = main_py(*words, f"--output={work}/out.npz").seconds
    written = np.load(work / "out.npz")
    place = {str(pathlib.Path(file).relative_to(folder)): row for row, file in enumerate(written["files"])}
    logits = written["logits"][[place[file] for file in golden["files"]]]
    pixels = [
        images.preprocess_for_eval((folder / file).read_bytes(), 224).numpy()[::16, ::16] for file in golden["files"]
    ]
    same = np.argsort(-logits)[:, :5] == np.argsort(-golden["logits"])[:, :5]
    return {
        "photographs": len(golden["files"]),
        "photographs_pixels_differing": int((np.stack(pixels) != golden["pixels"]).sum()),
        "photographs_logits": relative_l2(logits, golden["logits"]),
        "photographs_same_top5_in_order": int(same.all(-1).sum()),
        "photographs_predicted": len(place),
        "predict_seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs")
    parser.add_argument("--golden")
    options = parser.parse_args()
    if bool(options.photographs) != bool(options.golden):
        parser.error("--photographs and --golden go together")
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        result: dict[str, object] = {**against_the_release(), **against_numpy(work)}
        if options.photographs:
            result |= on_photographs(pathlib.Path(options.photographs).resolve(), options.golden, work)
    print(json.dumps({**result, "versions": versions(), "commit": git_commit()}))


if __name__ == "__main__":
    main()
