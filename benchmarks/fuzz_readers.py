"""Fuzz of what reads users' files: architectures, search spaces, checkpoints with their JSON files.

Hypothesis makes inputs (random ones, and valid ones mutated) for so many minutes a target, in a process each. Only
the documented error is accepted, `UserError` of one line; besides, what is accepted must survive being written and
read again, and a checkpoint that loads must give the weights that were saved. A crash of the process counts as well.
Ends in one line of JSON; exit code 1 if anything else happened.

    python benchmarks/fuzz_readers.py [--minutes=30] [--targets=blocks,space,checkpoint] [--seed=0]
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch import space as space_lib
from autonl_tf.arch.cost import network_cost
from autonl_tf.errors import UserError

NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "16",
    "24",
    "0.25",
    "1.0",
    "-1",
    "1e3",
    "nan",
    "inf",
    "99999999999999999999",
    "٣",
    "",
    ".",
]
TOKENS = ["r", "k", "s", "e", "i", "o", "se", "a", "p", "nonlocal", "noskip", "sw", "cc", "x"]
CHUNK = 500  # examples between two looks at the clock


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """`valid` cut, with bytes changed, put in, taken out or doubled, a few times."""

    def apply(edits) -> bytes:
        data = bytearray(valid)
        for kind, place, length, patch in edits:
            at = int(place * (len(data) + 1))
            if kind == "cut":
                del data[at:]
            elif kind == "drop":
                del data[at : at + length]
            elif kind == "double":
                data[at:at] = data[at : at + length]
            else:
                data[at : at + (len(patch) if kind == "change" else 0)] = patch
        return bytes(data)

    edit = st.tuples(
        st.sampled_from(["cut", "drop", "double", "change", "change", "put in"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 64),
        st.binary(min_size=1, max_size=8),
    )
    return st.lists(edit, min_size=1, max_size=4).map(apply)


class Target:
    """Examples, and what is to hold of each: `check` returns whether it was accepted, or raises."""

    def __init__(self, examples: st.SearchStrategy, check: Callable[[object], bool]):
        self.examples, self.check = examples, check


def refusal(error: UserError) -> bool:
    text = str(error)
    assert text.strip() and "\n" not in text.strip(), f"not one line: {text!r}"
    return False


def blocks(folder: pathlib.Path) -> Target:
    token = st.tuples(st.sampled_from(TOKENS), st.lists(st.sampled_from(NUMBERS), max_size=3)).map(
        lambda pair: pair[0] + ".-".join(pair[1][:1]) + ("-" + pair[1][1] if len(pair[1]) > 1 else "")
    )
    lines = st.lists(token, max_size=9).map("_".join)
    made = st.lists(lines | st.text(max_size=30), max_size=5).map("\n".join)
    valid = [blockstring.write(presets.load(name)).encode() for name in presets.names()]
    changed = st.one_of(*[mutated(text) for text in valid])
    path = folder / "fuzz.arch.txt"

    def check(example) -> bool:
        path.write_bytes(example if isinstance(example, bytes) else example.encode("utf-8", "surrogatepass"))
        try:
            spec = presets.load(str(path))
            assert blockstring.parse(blockstring.write(spec)) == spec
            network_cost(spec, image_size=64, num_classes=10)
        except UserError as error:
            return refusal(error)
        return True

    return Target(made | changed, check)


def space(folder: pathlib.Path) -> Target:
    valid = [
        json.dumps(json.loads((pathlib.Path(space_lib.__file__).parent / "spaces" / f"{name}.json").read_text()))
        for name in space_lib.names()
    ]
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NUMBERS)
    keys = st.sampled_from(
        [
            "candidates",
            "blocks",
            "block",
            "kernels",
            "expansions",
            "se_ratios",
            "nonlocal_ratios",
            "nonlocal_strides",
            "searchable",
            "droppable",
            "other",
        ]
    )
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
    )

    def placed(parts) -> bytes:
        """A valid space with one value replaced, somewhere within."""
        text, path, value = parts
        data = json.loads(text)
        at = data
        for step in path[:-1]:
            inner = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not inner:
                break
            key = inner[step % len(inner)]
            if not isinstance(at[key], dict | list):
                break
            at = at[key]
        inner = list(at) if isinstance(at, dict) else list(range(len(at)))
        if inner:
            at[inner[path[-1] % len(inner)]] = value
        return json.dumps(data).encode()

    replaced = st.tuples(st.sampled_from(valid), st.lists(st.integers(0, 40), min_size=1, max_size=4), values).map(
        placed
    )
    changed = st.one_of(*[mutated(text.encode()) for text in valid])
    path = folder / "fuzz.json"

    def check(example) -> bool:
        path.write_bytes(example)
        try:
            found = space_lib.load(str(path))
            found.check(224)
            for spec in (found.largest(), found.smallest()):
                blockstring.write(spec)
        except UserError as error:
            return refusal(error)
        return True

    return Target(values.map(lambda value: json.dumps(value).encode()) | replaced | changed, check)


def checkpoint(folder: pathlib.Path) -> Target:
    import numpy as np
    import tf_keras as keras

    from autonl_tf.engine.averages import MovingAverages
    from autonl_tf.engine.batch_norm import averaged_variables
    from autonl_tf.engine.checkpoints import Checkpoints
    from autonl_tf.engine.learner import Learner
    from autonl_tf.engine.optimizer import TF1RMSprop
    from autonl_tf.engine.weights import load_weights, read_model_json, write_model_json

    def net():
        image = keras.Input([4, 4, 3])
        x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(3, 3, name="conv")(image))
        return keras.Model(image, keras.layers.Dense(2, name="logits")(x))

    model, loaded = net(), net()
    learner = Learner(
        model, [(TF1RMSprop(0.1), model.trainable_variables)], MovingAverages(averaged_variables(model), 0.9)
    )
    whole, broken = folder / "whole", folder / "broken"
    saver = Checkpoints(whole, learner)
    saver.save(0)
    saver.save_best(0, 0.5)
    write_model_json(whole, {"arch": "r1_k3_s11_e1_i32_o16_noskip\n", "class_names": ["a", "b"]})
    files = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    weights = [variable.numpy() for variable in model.variables]
    contents = {name: (whole / name).read_bytes() for name in files}
    one = st.sampled_from(files).flatmap(
        lambda name: st.tuples(st.just(name), st.none() | mutated(contents[name]) | st.binary(max_size=200))
    )

    def check(example) -> bool:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        for name, content in example:
            if content is None:
                (broken / name).unlink(missing_ok=True)
            else:
                (broken / name).write_bytes(content)
        try:
            read_model_json(broken)
            found = load_weights(broken, loaded)
        except UserError as error:
            return refusal(error)
        assert found.step == 0
        for variable, expected in zip(loaded.variables, weights, strict=True):
            assert np.array_equal(variable.numpy(), expected), f"{variable.name} was loaded with other values"
        return True

    return Target(st.lists(one, min_size=1, max_size=3), check)


TARGETS = {"blocks": blocks, "space": space, "checkpoint": checkpoint}


def fuzz(name: str, minutes: float, first_seed: int) -> None:
    """One target, in this process; prints a line of JSON. Hypothesis shrinks a failure and raises it."""
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](pathlib.Path(folder))
        end, number = time.monotonic() + 60 * minutes, first_seed
        while time.monotonic() < end:

            @seed(number)
            @settings(
                max_examples=CHUNK,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            )
            @given(target.examples)
            def chunk(example):
                counts["accepted" if target.check(example) else "refused"] += 1

            chunk()
            number += 1
    print(json.dumps(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each target")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help="one target in this process")
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets, options.minutes, options.seed)
        return
    results = {}
    for name in options.targets.split(","):
        command = [sys.executable, __file__, "--here", f"--targets={name}", f"--minutes={options.minutes}"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        began = time.monotonic()
        done = subprocess.run(
            [*command, f"--seed={options.seed}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60 * options.minutes + 600,
            check=False,
        )
        results[name] = {"minutes": round((time.monotonic() - began) / 60, 2), "exit_code": done.returncode}
        if done.returncode:
            print(done.stderr[-6000:], file=sys.stderr)
        else:
            results[name] |= json.loads(done.stdout.splitlines()[-1])
        print(name, results[name], flush=True)
    clean = not any(result["exit_code"] for result in results.values())
    print(
        json.dumps(
            {"minutes_each": options.minutes, "seed": options.seed, "only_documented_errors": clean, "targets": results}
        )
    )
    sys.exit(not clean)


if __name__ == "__main__":
    main()
