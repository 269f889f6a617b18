"""What the targets of `fuzz_readers.py` share: what a target is, and how valid input is spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

from autonl_tf.errors import UserError

NUMBERS = ["0", "1", "2", "3", "5", "16", "24", "0.25", "1.0", "-1", "1e3", "nan", "inf", "99999999999999999999", "٣"]
NUMBERS += ["", "."]


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


def json_values(keys: list[str]) -> st.SearchStrategy:
    """What JSON can hold, objects with these keys."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NUMBERS)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(keys), inner, max_size=5),
        max_leaves=20,
    )


def spoilt_json(valid: list[str], keys: list[str]) -> st.SearchStrategy[bytes]:
    """Any JSON, a valid text with one value replaced somewhere within, or one with bytes changed."""
    values = json_values(keys)

    def placed(parts) -> bytes:
        text, path, value = parts
        data = json.loads(text)
        at = data
        for step in path[:-1]:
            inner = _places(at)
            if not inner or not isinstance(at[inner[step % len(inner)]], dict | list):
                break
            at = at[inner[step % len(inner)]]
        if inner := _places(at):
            at[inner[path[-1] % len(inner)]] = value
        return json.dumps(data).encode()

    paths = st.lists(st.integers(0, 40), min_size=1, max_size=4)
    replaced = st.tuples(st.sampled_from(valid), paths, values).map(placed)
    changed = st.one_of(*[mutated(text.encode()) for text in valid])
    return values.map(lambda value: json.dumps(value).encode()) | replaced | changed


def _places(at: dict | list) -> list:
    return list(at) if isinstance(at, dict) else list(range(len(at)))
