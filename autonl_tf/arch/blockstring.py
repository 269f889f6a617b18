"""Strict reader and writer of the official block strings, one block a line of `arch.txt`.

`r1_k5_s22_e6_i96_o192_nonlocal0.25-1_se0.5_noskip`: tokens in any order, each at most once, `r k s e i o` required.
Unlike the release's reader, which turns a misspelt `nonlocl0.5-1` into a block without LightNL, an unknown, missing,
repeated or out-of-range token is an error that names file, line and token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autonl_tf.arch.spec import STEM_FILTERS, BlockSpec, LightNLSpec, NetworkSpec
from autonl_tf.errors import UserError

MAX_FILTERS = 65536
MAX_KERNEL = 31

_REQUIRED = {
    "r": "repeats",
    "k": "kernel sizes",
    "s": "strides",
    "e": "expansion",
    "i": "input filters",
    "o": "output filters",
}
_ACCEPTED = "rN kA[.B] sHW eN iN oN aA[.B] pA[.B] seR nonlocal[C[-S]] noskip sw"
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


def _light_nl(text: str) -> LightNLSpec:
    ratio, _, stride = text.partition("-")
    return LightNLSpec(_ratio(ratio) if ratio else 1.0, _bounded(stride, 1, 1024) if stride else 1)


# key: (pattern of what follows it, field of BlockSpec, reader of what follows)
_TOKENS: dict[str, tuple[re.Pattern[str], str, Callable[[str], Any]]] = {
    key: (re.compile(pattern), field, read)
    for key, pattern, field, read in (
        ("nonlocal", rf"(?:{_REAL}(?:-{_INTEGER})?)?", "nonlocal_", _light_nl),
        ("noskip", "", "skip", lambda _: False),
        ("se", _REAL, "se_ratio", _ratio),
        ("sw", "", "swish_token", lambda _: True),
        ("r", _INTEGER, "repeats", lambda text: _bounded(text, 1, 1000)),
        ("k", rf"{_INTEGER}(?:\.{_INTEGER})*", "kernels", _kernels),
        ("s", r"\d\d", "stride", _stride),
        ("e", _INTEGER, "expansion", lambda text: _bounded(text, 1, 64)),
        ("i", _INTEGER, "in_filters", lambda text: _bounded(text, 1, MAX_FILTERS)),
        ("o", _INTEGER, "out_filters", lambda text: _bounded(text, 1, MAX_FILTERS)),
        ("a", rf"{_INTEGER}(?:\.{_INTEGER})*", "expand_kernels", _kernels),
        ("p", rf"{_INTEGER}(?:\.{_INTEGER})*", "project_kernels", _kernels),
    )
}


def parse_block(line: str, where: str = "block") -> BlockSpec:
    """One line to one `BlockSpec`. Raises UserError naming `where` and the token."""
    values: dict[str, Any] = {}
    for token in line.split("_"):
        key = next((key for key in _TOKENS if _fits(key, token)), None)
        if key is None:
            raise UserError(f"{where}: unknown token {token!r} in {line!r}; accepted: {_ACCEPTED}")
        _, field, read = _TOKENS[key]
        if field in values:
            raise UserError(f"{where}: token {token!r} repeats {key!r} in {line!r}; each is given once")
        try:
            values[field] = read(token[len(key) :])
        except ValueError as error:
            raise UserError(f"{where}: token {token!r} is out of range; accepted: {error}") from None
    for key, meaning in _REQUIRED.items():
        if _TOKENS[key][1] not in values:
            raise UserError(f"{where}: {line!r} lacks the token {key!r} ({meaning})")
    block = BlockSpec(**values)
    _check_groups(block, where)
    return block


def _fits(key: str, token: str) -> bool:
    return token.startswith(key) and _TOKENS[key][0].fullmatch(token[len(key) :]) is not None


def _check_groups(block: BlockSpec, where: str) -> None:
    """Every group of a grouped convolution needs at least one channel, in every repeat."""
    for single in set(block.singles()):
        expanded = single.expanded_filters
        for key, kernels, channels in (
            ("k", single.kernels, expanded),
            ("a", single.expand_kernels, min(single.in_filters, expanded)),
            ("p", single.project_kernels, min(expanded, single.out_filters)),
        ):
            if len(kernels) > channels:
                raise UserError(f"{where}: token {key!r} has {len(kernels)} groups for {channels} channels")
    if block.expansion == 1 and block.expand_kernels != (1,):
        raise UserError(f"{where}: token 'a' has no effect at expansion 1, which has no expansion convolution")


def parse(text: str, source: str = "architecture") -> NetworkSpec:
    """Reads an architecture, one block a line; blank lines are passed over.

    Args:
      text: the lines.
      source: the file's name, for error messages.

    Raises:
      UserError: no block at all, a bad token, or filters that do not chain from the stem (32) and block to block.
    """
    blocks: list[BlockSpec] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line:
            continue
        where = f"{source}, line {number}"
        block = parse_block(line, where)
        before, filters = ("block before", blocks[-1].out_filters) if blocks else ("stem", STEM_FILTERS)
        if block.in_filters != filters:
            raise UserError(
                f"{where}: token 'i{block.in_filters}' does not follow the {filters} output filters "
                f"of the {before}; accepted: 'i{filters}'"
            )
        blocks.append(block)
    if not blocks:
        raise UserError(f"{source}: no block in it; accepted: one block string a line, such as r1_k3_s11_e1_i32_o16")
    return NetworkSpec(tuple(blocks), source)


def write_block(block: BlockSpec) -> str:
    """The line that `parse_block` reads back as `block`."""

    def sizes(kernels: tuple[int, ...]) -> str:
        return ".".join(map(str, kernels))

    tokens = [f"r{block.repeats}", f"k{sizes(block.kernels)}", f"s{block.stride}{block.stride}"]
    if block.expand_kernels != (1,):
        tokens.append(f"a{sizes(block.expand_kernels)}")
    if block.project_kernels != (1,):
        tokens.append(f"p{sizes(block.project_kernels)}")
    tokens += [f"e{block.expansion}", f"i{block.in_filters}", f"o{block.out_filters}"]
    if block.nonlocal_ is not None:
        tokens.append(f"nonlocal{_plain(block.nonlocal_.ratio)}-{block.nonlocal_.stride}")
    if block.se_ratio is not None:
        tokens.append(f"se{_plain(block.se_ratio)}")
    if not block.skip:
        tokens.append("noskip")
    if block.swish_token:
        tokens.append("sw")
    return "_".join(tokens)


def _plain(value: float) -> str:
    """The shortest decimal that reads back exactly, never in exponent notation, with at least one decimal."""
    text = repr(value)
    if "e" in text:
        text = f"{value:.25f}".rstrip("0")
        text = text if float(text) == value else f"{value:.400f}".rstrip("0")
    return text


def write(spec: NetworkSpec) -> str:
    """The text that `parse` reads back as `spec`."""
    return "".join(write_block(block) + "\n" for block in spec.blocks)
