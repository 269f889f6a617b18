"""Strict reader and writer of the official block strings, one block a line of `arch.txt`.

`r1_k5_s22_e6_i96_o192_nonlocal0.25-1_se0.5_noskip`: tokens in any order, each at most once, `r k s e i o` required.
Unlike the release's reader, which turns a misspelt `nonlocl0.5-1` into a block without LightNL, an unknown, missing,
repeated or out-of-range token is an error that names file, line and token.

Two additions, which official files lack and which leave them read as before:

- a first line `network activation=relu6 stem=32 head=1280 shuffle=on padding=symmetric mean=127 stddev=128`, every part
  optional, for networks of other families. With it `sw` means what it means in MixNet: this block is swish, whatever
  the rest;
- the token `embeddedC[-S]`, a conventional non-local block after the projection, where LightNL would be.
"""

from __future__ import annotations

import dataclasses
import decimal
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from autonl_tf.arch.spec import (
    ACTIVATIONS,
    PADDINGS,
    STEM_FILTERS,
    BlockSpec,
    EmbeddedNLSpec,
    LightNLSpec,
    NetworkSpec,
    Normalization,
)
from autonl_tf.errors import UserError

MAX_FILTERS = 65536
MAX_KERNEL = 31
MAX_GROUPS = 64  # of kernel sizes in one token
MAX_BLOCKS = 1000  # repeats counted

_INTEGER = r"\d{1,9}"
_REAL = r"\d+(?:\.\d+)?"


def _bounded(text: str, low: int, high: int) -> int:
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{low} to {high}")
    return value


def _kernels(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split("."))
    if any(size % 2 == 0 or size > MAX_KERNEL for size in sizes):
        raise ValueError(f"odd sizes from 1 to {MAX_KERNEL}")
    if len(sizes) > MAX_GROUPS:
        raise ValueError(f"at most {MAX_GROUPS} sizes")
    return sizes


def _stride(text: str) -> int:
    if text[0] != text[1] or text[0] == "0":
        raise ValueError("two equal digits from 1 to 9: depthwise convolutions stride alike in height and width")
    return int(text[0])


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError("a ratio above 0 and at most 1")
    return value


def _plain(value: float) -> str:
    """The shortest decimal that reads back exactly, never in exponent notation."""
    return format(decimal.Decimal(repr(value)), "f")


class _Token(NamedTuple):
    """A kind of token: its field of BlockSpec, its form in messages, and the pattern, reader and writer of what follows
    the key. `required` names a token that every block has; others are written where the field differs from its default.
    """

    field: str
    form: str
    pattern: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    required: str = ""


def _count(field: str, high: int, required: str) -> _Token:
    return _Token(field, "N", _INTEGER, lambda text: _bounded(text, 1, high), str, required)


def _sizes(field: str, required: str = "") -> _Token:
    pattern = rf"{_INTEGER}(?:\.{_INTEGER})*"
    return _Token(field, "A[.B]", pattern, _kernels, lambda kernels: ".".join(map(str, kernels)), required)


def _non_local(field: str, make: type, form: str, pattern: str) -> _Token:
    def read(text: str) -> Any:
        ratio, _, stride = text.partition("-")
        return make(_ratio(ratio) if ratio else 1.0, _bounded(stride, 1, 1024) if stride else 1)

    return _Token(field, form, pattern, read, lambda value: f"{_plain(value.ratio)}-{value.stride}")


def _switch(field: str, value: bool) -> _Token:
    return _Token(field, "", "", lambda text: value, lambda value: "")


# In the order in which they are written.
_TOKENS = {
    "r": _count("repeats", MAX_BLOCKS, "repeats"),
    "k": _sizes("kernels", "kernel sizes"),
    "s": _Token("stride", "HW", r"\d\d", _stride, lambda stride: f"{stride}{stride}", "strides"),
    "a": _sizes("expand_kernels"),
    "p": _sizes("project_kernels"),
    "e": _count("expansion", 64, "expansion"),
    "i": _count("in_filters", MAX_FILTERS, "input filters"),
    "o": _count("out_filters", MAX_FILTERS, "output filters"),
    "nonlocal": _non_local("nonlocal_", LightNLSpec, "[C[-S]]", rf"(?:{_REAL}(?:-{_INTEGER})?)?"),
    "embedded": _non_local("embedded", EmbeddedNLSpec, "C[-S]", rf"{_REAL}(?:-{_INTEGER})?"),
    "se": _Token("se_ratio", "R", _REAL, _ratio, _plain),
    "noskip": _switch("skip", False),
    "sw": _switch("swish_token", True),
}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(BlockSpec)}


def parse_block(line: str, where: str = "block") -> BlockSpec:
    """One line to one `BlockSpec`. Raises UserError naming `where` and the token."""
    values: dict[str, Any] = {}
    for token in line.split("_"):
        key = next((key for key in _TOKENS if _fits(key, token)), None)
        if key is None:
            accepted = " ".join(key + kind.form for key, kind in _TOKENS.items())
            raise UserError(f"{where}: unknown token {token!r} in {line!r}; accepted: {accepted}")
        kind, text = _TOKENS[key], token[len(key) :]
        _add(values, kind.field, kind.read, text, f"{where}: token {token!r}", f"repeats {key!r} in {line!r}")
    for key, kind in _TOKENS.items():
        if kind.required and kind.field not in values:
            raise UserError(f"{where}: {line!r} lacks the token {key!r} ({kind.required})")
    block = BlockSpec(**values)
    _check_groups(block, where)
    return block


def _fits(key: str, token: str) -> bool:
    return token.startswith(key) and re.fullmatch(_TOKENS[key].pattern, token[len(key) :]) is not None


def _add(values: dict[str, Any], field: str, read: Callable[[str], Any], text: str, what: str, repeats: str) -> None:
    """Reads `text` into `values`. Raises UserError about `what` if the field is there already or out of range."""
    if field in values:
        raise UserError(f"{what} {repeats}; each is given once")
    try:
        values[field] = read(text)
    except ValueError as error:
        raise UserError(f"{what} is out of range; accepted: {error}") from None


def _check_groups(block: BlockSpec, where: str) -> None:
    """Every group of a grouped convolution needs at least one channel, in every repeat."""
    for single in set(block.singles()):
        if found := single.too_many_groups():
            raise UserError(f"{where}: token {found[0]!r} has {found[1]}")
    if block.expansion == 1 and block.expand_kernels != (1,):
        raise UserError(f"{where}: token 'a' has no effect at expansion 1, which has no expansion convolution")


def _one_of(*accepted: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in accepted:
            raise ValueError(", ".join(accepted))
        return text

    return read


def _filters(text: str) -> int:
    return _bounded(text if re.fullmatch(_INTEGER, text) else "0", 1, MAX_FILTERS)


def _rgb(low: float, high: float) -> Callable[[str], tuple[float, float, float]]:
    def read(text: str) -> tuple[float, float, float]:
        values = [float(part) if re.fullmatch(_REAL, part) else -1.0 for part in text.split(",")]
        if len(values) not in (1, 3) or not all(low <= value <= high for value in values):
            raise ValueError(f"a number from {low:g} to {high:g}, or three with commas between: red, green, blue")
        return tuple(values * (3 // len(values)))

    return read


def _one_or_three(values: tuple[float, float, float]) -> str:
    texts = [_plain(value).removesuffix(".0") for value in values]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)


# key: (field of NetworkSpec, or of its Normalization, reader and writer of what follows the equals sign)
_HEADER: dict[str, tuple[str, Callable[[str], Any], Callable[[Any], str]]] = {
    "activation": ("activation", _one_of(*ACTIVATIONS), str),
    "stem": ("stem_filters", _filters, str),
    "head": ("head_filters", _filters, str),
    "shuffle": ("shuffle", lambda text: _one_of("on", "off")(text) == "on", lambda shuffle: "on"),
    "padding": ("padding", _one_of(*PADDINGS), str),
    "mean": ("mean", _rgb(0, 255), _one_or_three),
    "stddev": ("stddev", _rgb(0.001, 65536), _one_or_three),
}


def parse_header(line: str, where: str = "header") -> dict[str, Any]:
    """The fields of `NetworkSpec` that `network KEY=VALUE ...` sets. Raises UserError naming `where` and the part."""
    values: dict[str, Any] = {}
    for part in line.split()[1:]:
        key, equals, text = part.partition("=")
        if key not in _HEADER or not equals:
            accepted = " ".join(f"{name}=..." for name in _HEADER)
            raise UserError(f"{where}: unknown {part!r} in {line!r}; accepted: {accepted}")
        field, read, _ = _HEADER[key]
        _add(values, field, read, text, f"{where}: {part!r}", f"repeats {key!r} in {line!r}")
    if pixels := {name: values.pop(name) for name in ("mean", "stddev") if name in values}:
        values["normalization"] = Normalization(**pixels)
    return values


def parse(text: str, source: str = "architecture") -> NetworkSpec:
    """Reads an architecture, one block a line after the header if there is one; blank lines are passed over.

    Raises:
      UserError: no block at all, a bad token, or filters that do not chain from the stem (32) and block to block.
    """
    blocks: list[BlockSpec] = []
    count = 0
    header: dict[str, Any] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line:
            continue
        where = f"{source}, line {number}"
        if line.split()[0] == "network":
            if blocks or header is not None:
                raise UserError(f"{where}: {line!r}: the header must be the first line, and only one is allowed")
            header = parse_header(line, where)
            continue
        blocks.append(_in_family(parse_block(line, where), header or {}))
        count += blocks[-1].repeats
        if count > MAX_BLOCKS:
            raise UserError(f"{where}: makes {count} blocks; accepted: at most {MAX_BLOCKS}, repeats counted")
        stem = (header or {}).get("stem_filters", STEM_FILTERS)
        before, filters = ("block before", blocks[-2].out_filters) if len(blocks) > 1 else ("stem", stem)
        if blocks[-1].in_filters != filters:
            raise UserError(
                f"{where}: token 'i{blocks[-1].in_filters}' does not follow the {filters} output filters "
                f"of the {before}; accepted: 'i{filters}'"
            )
    if not blocks:
        raise UserError(f"{source}: no block in it; accepted: one block string a line, such as r1_k3_s11_e1_i32_o16")
    return NetworkSpec(tuple(blocks), source, **(header or {}))


def _in_family(block: BlockSpec, header: dict[str, Any]) -> BlockSpec:
    """The block with what the header says of all blocks."""
    activation = "swish" if block.swish_token else header.get("activation", "swish")
    shuffle, padding = header.get("shuffle", False), header.get("padding", "same")
    return dataclasses.replace(block, activation=activation, shuffle=shuffle, padding=padding)


def write_block(block: BlockSpec) -> str:
    """The line that `parse_block` reads back as `block`."""
    tokens = []
    for key, kind in _TOKENS.items():
        value = getattr(block, kind.field)
        if kind.required or value != _DEFAULTS[kind.field]:
            tokens.append(key + kind.write(value))
    return "_".join(tokens)


def write_header(spec: NetworkSpec) -> str:
    """The header that `parse` reads back; empty for the AutoNL family, which needs none."""
    values, defaults = (vars(of) | vars(of.normalization) for of in (spec, NetworkSpec(())))
    parts = [
        f"{key}={write(values[field])}"
        for key, (field, _, write) in _HEADER.items()
        if values[field] != defaults[field]
    ]
    return " ".join(["network", *parts]) if parts else ""


def write(spec: NetworkSpec) -> str:
    """The text that `parse` reads back as `spec`."""
    lines = [write_header(spec), *map(write_block, spec.blocks)]
    return "".join(line + "\n" for line in lines if line)
