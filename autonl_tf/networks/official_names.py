"""The official checkpoints' name for every variable of our network."""

from __future__ import annotations

from autonl_tf.arch.spec import BlockSpec, NetworkSpec
from autonl_tf.errors import UserError

SCOPE = "single-path"  # every official variable of a network is below it
_CONVOLUTIONS = f"{SCOPE}/mnas_net_model"
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def official_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, official variable), such as ("block0_depthwise/depthwise_kernel",
    "single-path/mnas_net_model/mnas_blocks_0/depthwise_conv2d/depthwise_kernel"), in the order of our layers.

    Ours are named as `network.build_network` names its layers. The rule: ordinary and depthwise convolutions are
    counted each over the whole network, blocks first, then stem, then head, in the order in which the release creates
    them (expand per group, depthwise per group, squeeze-excite reduce and expand, project per group, LightNL); batch
    norms are counted in each scope; the first of a kind carries no number. Source: the AutoNL release's checkpoints.

    Raises:
      UserError: the architecture is of another family (it has a header, or conventional non-local blocks).
    """
    if spec.has_header or any(block.embedded for block in spec.blocks):
        raise UserError(
            f"{spec.source}: official checkpoints hold networks of the AutoNL family, without a header line"
        )
    counter = _Counter()
    blocks = [
        pair
        for index, block in enumerate(spec.singles())
        for pair in _block(counter, block, f"block{index}", f"mnas_blocks_{index}")
    ]
    stem = [counter.convolution("stem_conv", "mnas_stem"), *_batch_norm("stem_bn", "mnas_stem", 0)]
    head = [counter.convolution("head_conv", "mnas_head"), *_batch_norm("head_bn", "mnas_head", 0)]
    dense = [(f"logits/{leaf}", f"{_CONVOLUTIONS}/mnas_head/dense/{leaf}") for leaf in ("kernel", "bias")]
    return [*stem, *blocks, *head, *dense]


class _Counter:
    """Numbers convolutions as TensorFlow 1 did: conv2d, conv2d_1, ..."""

    def __init__(self):
        self._made = {"conv2d": 0, "depthwise_conv2d": 0}

    def convolution(self, ours: str, scope: str) -> tuple[str, str]:
        return (f"{ours}/kernel", f"{self._next('conv2d', scope)}/kernel")

    def with_bias(self, ours: str, scope: str) -> list[tuple[str, str]]:
        official = self._next("conv2d", scope)
        return [(f"{ours}/{leaf}", f"{official}/{leaf}") for leaf in ("kernel", "bias")]

    def depthwise(self, ours: str, scope: str) -> tuple[str, str]:
        official = self._next("depthwise_conv2d", scope)
        return (f"{ours}/depthwise_kernel", f"{official}/depthwise_kernel")

    def _next(self, kind: str, scope: str) -> str:
        number = self._made[kind]
        self._made[kind] += 1
        return f"{_CONVOLUTIONS}/{scope}/{_numbered(kind, number)}"


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _batch_norm(ours: str, scope: str, number: int) -> list[tuple[str, str]]:
    official = f"{SCOPE}/{scope}/{_numbered('batch_normalization', number)}"
    return [(f"{ours}/{leaf}", f"{official}/{leaf}") for leaf in _BATCH_NORM]


def _groups(name: str, kernels: tuple[int, ...]) -> list[str]:
    return [name] if len(kernels) == 1 else [f"{name}_group{number}" for number in range(len(kernels))]


def _block(counter: _Counter, block: BlockSpec, ours: str, scope: str) -> list[tuple[str, str]]:
    pairs, norms = [], 0
    if block.expansion != 1:
        pairs += [counter.convolution(n, scope) for n in _groups(f"{ours}_expand_conv", block.expand_kernels)]
        pairs += _batch_norm(f"{ours}_expand_bn", scope, norms)
        norms += 1
    pairs += [counter.depthwise(n, scope) for n in _groups(f"{ours}_depthwise", block.kernels)]
    pairs += _batch_norm(f"{ours}_depthwise_bn", scope, norms)
    if block.se_ratio is not None:
        pairs += counter.with_bias(f"{ours}_se_reduce", f"{scope}/se")
        pairs += counter.with_bias(f"{ours}_se_expand", f"{scope}/se")
    pairs += [counter.convolution(n, scope) for n in _groups(f"{ours}_project_conv", block.project_kernels)]
    pairs += _batch_norm(f"{ours}_project_bn", scope, norms + 1)
    if block.nonlocal_ is not None:
        pairs.append(counter.depthwise(f"{ours}_nl_depthwise", f"{scope}/nl"))
        pairs += _batch_norm(f"{ours}_nl_bn", f"{scope}/nl", 0)
    return pairs
