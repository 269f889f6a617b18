"""Targets of `fuzz_readers.py`: architectures, search spaces, latency tables."""

from __future__ import annotations

import json
import pathlib

from hypothesis import strategies as st
from support.fuzzing import NUMBERS, Target, mutated, refusal, spoilt_json
from support.tiny_run import SPACE

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.errors import UserError
from autonl_tf.records import LATENCY_FORMAT
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib

TOKENS = ["r", "k", "s", "e", "i", "o", "se", "a", "p", "nonlocal", "noskip", "sw", "cc", "x"]
SPACE_KEYS = ["candidates", "blocks", "block", "kernels", "expansions", "se_ratios", "nonlocal_ratios"]
SPACE_KEYS += ["nonlocal_strides", "searchable", "droppable", "other"]
TABLE_KEYS = ["format", "device", "runtime", "space", "input_image_size", "num_label_classes", "pieces"]
TABLE_KEYS += ["calibration", "offset_ms", "scale", "median_ms"]


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
    path = folder / "fuzz.json"
    places = [pathlib.Path(space_lib.__file__).parent / "spaces" / f"{name}.json" for name in space_lib.names()]

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

    return Target(spoilt_json([json.dumps(json.loads(place.read_text())) for place in places], SPACE_KEYS), check)


def table(folder: pathlib.Path) -> Target:
    path, size, classes = folder / "table.json", 32, 3
    (folder / "space.json").write_text(json.dumps(SPACE))
    searched = space_lib.load(str(folder / "space.json"))
    keys = latency.pieces(searched, image_size=size, num_classes=classes)
    valid = {
        **{"format": LATENCY_FORMAT, "device": "this one", "runtime": {}, "space": "tiny"},
        **{"input_image_size": size, "num_label_classes": classes},
        "pieces": {key: {"median_ms": 0.5, "samples": 20} for key in keys},
        "calibration": {"offset_ms": 0.1, "scale": 1.1},
    }

    def check(example) -> bool:
        path.write_bytes(example)
        try:
            low, high = latency.read_table(path).cost_model(searched, image_size=size, num_classes=classes).reachable()
        except UserError as error:
            return refusal(error)
        assert low <= high, "not numbers"
        return True

    return Target(spoilt_json([json.dumps(valid)], TABLE_KEYS), check)
