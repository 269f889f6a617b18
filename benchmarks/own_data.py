"""Small real sets trained by the defaults, every network and seed: see "Networks from scratch on small sets" in
docs/training.md.

    python benchmarks/own_data.py --cifar10=DIR --scenes=DIR [--sets=c4x200,...] [--networks=found,...] [--seeds=0,1,2]
        [--recipe=defaults|published|FLAGS] [--noexport] [--work=DIR] [--results=FILE]

DIR has train/CLASS and test/CLASS or val/CLASS. The sets are made of links in --work: `c4x200`, four classes of
CIFAR-10 with 200 images each; `c10x1000` and `c10x20`; `unequal`, five with 600 to 8; `s3x30`, three kinds of scenes
with 30 each, at 64 px; `cifar10` whole. The networks: `found`, six blocks of which five have LightNL, as the demo's
search finds; `autonl_s`; and `mobilenet_v2 --nonlocal=all:0.25-1`.

--recipe=published gives the numbers of the published recipe as flags, which were the defaults before there was a rule;
the length is the default's. Other words are flags of main.py, in one argument.

Each cell is written into --results as it comes and is not measured again: validation loss, top-1 and images beyond
float16 at every evaluation, the worst of the last third, the best copy's top-1, and what every exported format says.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shlex
import shutil
import subprocess

from support.main_py import best_copy, evaluations, main_py

from autonl_tf.engine.rundir import git_commit, versions

FOUND = """\
r1_k3_s22_e1_i32_o16_noskip
r1_k3_s11_e3_i16_o24_nonlocal0.25-2
r1_k5_s11_e3_i24_o24_nonlocal0.25-2
r1_k5_s22_e3_i24_o40_nonlocal0.25-1
r1_k3_s11_e6_i40_o40_nonlocal0.25-1
r1_k5_s11_e3_i40_o64_nonlocal0.25-1
"""
NETWORKS = {
    "found": (),
    "autonl_s": ("--arch=autonl_s",),
    "mobilenet_v2_nl": ("--arch=mobilenet_v2", "--nonlocal=all:0.25-1"),
}
EQUAL = ("airplane", "cat", "frog", "truck")
UNEQUAL = {"bird": 600, "deer": 200, "dog": 60, "ship": 20, "horse": 8}
SCENES = ("forest", "sea", "street")
# name -> (source, classes with their number of training images, or None for all, validation images a class, pixels)
SETS = {
    "c4x200": ("cifar10", dict.fromkeys(EQUAL, 200), 50, 32),
    "c10x1000": ("cifar10", 1000, 100, 32),
    "c10x20": ("cifar10", 20, 100, 32),
    "unequal": ("cifar10", UNEQUAL, 40, 32),
    "s3x30": ("scenes", dict.fromkeys(SCENES, 30), 30, 64),
    "cifar10": ("cifar10", None, None, 32),
}
FORMATS = ("tflite_fp32", "tflite_fp16", "tflite_int8")


def make_set(name: str, sources: dict[str, pathlib.Path], work: pathlib.Path) -> pathlib.Path:
    """The folder of a set, of links to the first images by name."""
    kind, classes, held_out, _ = SETS[name]
    source, target = sources[kind], work / "sets" / name
    if target.exists():
        return target
    scored = "val" if (source / "val").is_dir() else "test"
    if not isinstance(classes, dict):
        classes = {path.name: classes for path in sorted((source / "train").iterdir())}
    for label, count in classes.items():
        for of, split, most in (("train", "train", count), (scored, "val", held_out)):
            (target / split / label).mkdir(parents=True)
            for path in sorted((source / of / label).iterdir())[:most]:
                (target / split / label / path.name).symlink_to(path.resolve())
    return target


PUBLISHED = (
    *("--base_learning_rate=0.016", "--lr_warmup_epochs=5", "--lr_decay_epochs=2.4", "--lr_decay_rate=0.97"),
    *("--batch_norm_momentum=0.99", "--moving_average_decay=0.9999", "--recalibrate_batches=0"),
    *("--min_crop_area=0.08", "--crop_padding=32"),
)


def ended(*words: str) -> tuple[int, str, float]:
    """Exit code, what was said last, and seconds of processor time of one command."""
    done = main_py(*words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return done.code, (done.stderr.strip().splitlines() or [""])[-1], done.cpu_seconds


def measured(folder: pathlib.Path, network: str, seed: int, flags: list[str], size: int, options) -> dict[str, object]:
    """One cell: a training from scratch, and its exports."""
    run = pathlib.Path(options.work).resolve() / "runs" / f"{folder.name}_{network}_{seed}"
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    if network == "found":
        (run.parent / "found.txt").write_text(FOUND, encoding="utf-8")
    arch = NETWORKS[network] or (f"--arch={run.parent}/found.txt",)
    data = f"--dataset=folder:{folder}"
    words = ("--mode=train", *arch, data, f"--model_dir={run}", f"--seed={seed}", f"--input_image_size={size}", *flags)
    code, said, seconds = ended(*words)
    found: dict[str, object] = {"exit_code": code, "cpu_seconds": round(seconds, 1)}
    if code:
        return {**found, "said": said}
    scores = [(record["step"], record["values"]) for record in evaluations(run)]
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    classes, last = settings["num_label_classes"], max(step for step, _ in scores)
    late = [values for step, values in scores if 3 * step >= 2 * last]
    worst = max((math.inf if v["loss"] is None else v["loss"] for v in late), default=math.inf)
    found |= {
        "steps": last,
        "epochs": settings["train_epochs"],
        "batch": settings["train_batch_size"],
        "losses": [values["loss"] for _, values in scores],
        "top1": [values["top1"] for _, values in scores],
        "beyond_float16": [values.get("beyond_float16", 0) for _, values in scores],
        "worst_of_last_third": worst if math.isfinite(worst) else "not finite",
        "beyond_in_last_third": sum(int(values.get("beyond_float16", 0)) for values in late),
        "bound": 2 * math.log(classes),
        "good": worst < 2 * math.log(classes) and not any(values.get("beyond_float16") for values in late),
        "best_top1": best_copy(run)["metric"] if (run / "best" / "best.json").exists() else None,
    }
    if options.export:
        out = run / "export"
        found["exports"] = {}
        for name in FORMATS:
            shutil.rmtree(out, ignore_errors=True)
            words = ("--mode=export", f"--model_dir={run}", f"--output={out}", data, f"--formats={name}")
            code, said, _ = ended(*words)
            if code:
                found["exports"][name] = said
            else:
                card = json.loads((out / "card.json").read_text(encoding="utf-8"))
                found["exports"][name] = card["scores"]["files"][0]["top1"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--scenes", required=True)
    parser.add_argument("--sets", default="c4x200,c10x1000,unequal,s3x30")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--recipe", default="defaults")
    parser.add_argument("--noexport", dest="export", action="store_false")
    parser.add_argument("--work", default="runs/own_data")
    parser.add_argument("--results", default="runs/own_data/results.json")
    options = parser.parse_args()
    for names, known in ((options.sets, SETS), (options.networks, NETWORKS)):
        if unknown := set(names.split(",")) - set(known):
            parser.error(f"{', '.join(sorted(unknown))} unknown; accepted: {', '.join(known)}")
    recipes = {"defaults": [], "published": list(PUBLISHED)}
    flags = recipes[options.recipe] if options.recipe in recipes else shlex.split(options.recipe)
    sources = {"cifar10": pathlib.Path(options.cifar10), "scenes": pathlib.Path(options.scenes)}
    work, results = pathlib.Path(options.work), pathlib.Path(options.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for name in options.sets.split(","):
        folder = make_set(name, sources, work.resolve())
        for network in options.networks.split(","):
            for seed in map(int, options.seeds.split(",")):
                key = f"{options.recipe} | {name} | {network} | seed {seed}"
                if key in found:
                    continue
                found[key] = {**measured(folder, network, seed, flags, SETS[name][3], options), "commit": git_commit()}
                results.write_text(json.dumps({**found, "versions": versions()}, indent=1) + "\n", encoding="utf-8")
                short = {k: v for k, v in found[key].items() if k not in ("losses", "top1", "beyond_float16")}
                print(key, json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
