"""The frozen feature extractor: uint8 RGB to feature maps (paper, "Implementation Details")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.errors import UsageError, WeightsError
from ast_edge.model.roi import Roi
from ast_edge.train.config import BackboneConfig, TrainConfig
from ast_edge.train.downloaded import downloaded_state
from ast_edge.train.packaged import PACKAGES, packaged_state
from ast_edge.wording import meant

AUTHORS_NOMINAL_SIZE = 456  # the size for which the published code precomputes EfficientNet-B5's padding


class Trunk(nn.Module):
    """uint8 RGB [N,S,S,3] -> one map per stage [N,C,h,h]; always in evaluation mode, never trained.

    With `look_at` pixels outside a region are replaced first.
    """

    mean: Tensor
    std: Tensor
    inside: Tensor | None
    fill: Tensor | None

    def __init__(self, body: nn.Module, config: BackboneConfig) -> None:
        super().__init__()
        self.register_buffer("inside", None, persistent=False)
        self.register_buffer("fill", None, persistent=False)
        self.body = body
        self.channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"  # timm's term, for Swin and others
        self.neighbourhood = config.neighbourhood
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1) * 255, persistent=False)
        self.requires_grad_(requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> Trunk:  # noqa: FBT001, FBT002, ARG002  # nn.Module's signature
        """Stay in evaluation mode: the batch-norm statistics of a frozen network must not change."""
        return super().train(mode=False)

    def look_at(self, roi: Roi, size: int) -> None:
        """Replace the pixels outside `roi` in pictures of `size` pixels from now on."""
        self.inside = torch.tensor(roi.pixels(size), dtype=torch.float32).view(1, 1, size, size)
        self.fill = torch.tensor(roi.fill, dtype=torch.float32).view(1, 3, 1, 1)

    def features(self, image: Tensor) -> Tensor:
        """Return all stages on the coarsest grid, concatenated: [N,C,h,h]."""
        return pooled(self(image))

    def forward(self, image: Tensor, shrink: int = 1) -> list[Tensor]:
        """Average the picture down by `shrink`, normalise, extract, average each stage over neighbours."""
        # Float first: TensorRT supports uint8 only as a network input, which only a cast may read.
        x = image.float().permute(0, 3, 1, 2)
        if self.inside is not None and self.fill is not None:
            # Whole numbers below 256, exact in every precision: what is replaced leaves no trace.
            x = (x - self.fill) * self.inside + self.fill
        x = ((x if shrink == 1 else F.avg_pool2d(x, shrink)) - self.mean) / self.std
        maps: Sequence[Tensor] = self.body(x.to(next(self.body.parameters()).dtype))
        if self.channels_last:
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        return [neighbours(level, self.neighbourhood) for level in maps]


class EfficientNetCut(nn.Module):
    """An EfficientNet of timm up to and including `blocks[last]`."""

    def __init__(self, network: Any, last: int) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = network.conv_stem, network.bn1
        self.blocks = network.blocks[: last + 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[N,3,S,S] -> one map."""
        return [self.blocks(self.bn1(self.conv_stem(x)))]


class StaticPad(nn.Module):
    """A convolution with explicit zero padding: (left, right, top, bottom)."""

    def __init__(self, conv: nn.Conv2d, pads: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv, self.pads = conv, pads

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        out: Tensor = self.conv(F.pad(x, self.pads))
        return out


def neighbours(level: Tensor, size: int) -> Tensor:
    """Average over the `size` x `size` places around each place, zeros beyond the border: the same shape.

    As in PatchCore (CVPR 2022, "Locally aware patch features").
    """
    if size == 1:
        return level
    return F.avg_pool2d(level, size, stride=1, padding=size // 2, count_include_pad=True)


def pooled(levels: Sequence[Tensor]) -> Tensor:
    """Return all stages averaged down to the coarsest grid, concatenated: [N,C,h,h]."""
    coarsest = min(level.shape[-1] for level in levels)
    return torch.cat([_averaged(level, coarsest) for level in levels], dim=1)


def _averaged(level: Tensor, size: int) -> Tensor:
    factor = level.shape[-1] // size
    return level if factor == 1 else F.avg_pool2d(level, factor)


def build_trunk(config: BackboneConfig, image_size: int) -> Trunk:
    """Build the network without weights, padding fixed for `image_size`. UsageError for an unknown name."""
    body = _create(config)
    nominal = AUTHORS_NOMINAL_SIZE if config.padding == "authors" else image_size
    _fix_same_padding(body, nominal)
    trunk = Trunk(body, config)
    _check_grid(trunk, config, image_size)
    return trunk


def build_trunks(config: TrainConfig) -> tuple[Trunk | None, Trunk | None]:
    """Build the network's backbone (None in mode depth) and that of the memories, if any; without weights."""
    own = None if config.mode == "depth" else build_trunk(config.backbone, config.image_size)
    further = config.further_backbone
    other = None if further is None else build_trunk(further, config.image_size)
    for trunk in (own, other):
        if trunk is not None and config.roi is not None:
            trunk.look_at(config.roi, config.image_size)
    return own, other


def _create(config: BackboneConfig) -> nn.Module:
    import timm  # noqa: PLC0415  # two seconds that `--help` must not pay

    arguments: dict[str, Any] = {"pad_type": config.pad_type} if config.pad_type else {}
    try:
        if config.last_block is None:
            body: nn.Module = timm.create_model(
                config.name, features_only=True, out_indices=config.stages, **arguments
            )
            return body
        network: Any = timm.create_model(config.name, **arguments)
        if not hasattr(network, "conv_stem") or config.last_block >= len(network.blocks):
            raise UsageError(
                f"backbone {config.describe()}: {config.name} has no EfficientNet blocks to cut there."
            )
        return EfficientNetCut(network, config.last_block)
    except (RuntimeError, IndexError, AssertionError, TypeError, AttributeError, ValueError) as exc:
        raise UsageError(
            f"backbone {config.describe()}: timm cannot build it ({exc}); timm.list_models() has the names."
            f"{meant(config.name, timm.list_models())}"
        ) from exc


def describe_timm(name: str, stages: tuple[int, ...]) -> BackboneConfig:
    """Describe stages of a timm model as timm knows them: stride of the coarsest, mean and deviation."""
    network: Any = _create(BackboneConfig(name=name, stages=stages, stride=1))
    return BackboneConfig(
        name=name,
        stages=stages,
        stride=max(network.feature_info.reduction()),
        mean=network.pretrained_cfg["mean"],
        std=network.pretrained_cfg["std"],
    )


def finest_stride(backbone: BackboneConfig, stages: tuple[int, ...]) -> int:
    """Return the stride of the finest of these stages, or of a backbone cut by its blocks."""
    if not stages:
        return backbone.stride
    network: Any = _create(backbone.model_copy(update={"stages": stages}))
    return int(min(network.feature_info.reduction()))


def _fix_same_padding(body: nn.Module, nominal_size: int) -> None:
    """Replace convolutions that pad by the size of their input with ones that pad as for `nominal_size`."""
    from timm.layers.conv2d_same import Conv2dSame  # noqa: PLC0415

    sizes: dict[str, int] = {}
    same = {name: module for name, module in body.named_modules() if isinstance(module, Conv2dSame)}
    hooks = [
        module.register_forward_pre_hook(lambda _m, args, name=name: sizes.update({name: args[0].shape[-1]}))
        for name, module in same.items()
    ]
    if same:
        with torch.inference_mode():
            body.eval()(torch.zeros(1, 3, nominal_size, nominal_size))
    for hook in hooks:
        hook.remove()
    for name, module in same.items():
        parent, _, leaf = name.rpartition(".")
        setattr(body.get_submodule(parent), leaf, _static(module, sizes[name]))


def _static(module: Any, size: int) -> StaticPad:
    kernel, stride, dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    before, after = total // 2, total - total // 2
    conv = nn.Conv2d(
        module.in_channels,
        module.out_channels,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=module.groups,
        bias=module.bias is not None,
    )
    conv.load_state_dict(module.state_dict())
    return StaticPad(conv, (before, after, before, after))


def _check_grid(trunk: Trunk, config: BackboneConfig, image_size: int) -> None:
    try:
        with torch.inference_mode():
            shape = trunk.features(torch.zeros(1, image_size, image_size, 3, dtype=torch.uint8)).shape
    except (RuntimeError, AssertionError, ValueError) as exc:
        raise UsageError(
            f"backbone {config.describe()}: does not accept pictures of {image_size} pixels ({exc}); choose "
            "another image size or backbone."
        ) from exc
    expected = image_size // config.stride
    if tuple(shape[-2:]) != (expected, expected):
        raise UsageError(
            f"backbone {config.describe()}: at {image_size} pixels its map is {shape[-2]}x{shape[-1]}, not "
            f"{expected}x{expected}; choose an image size that is a multiple of {config.stride}."
        )


def load_weights(trunk: Trunk, path: Path) -> None:
    """Load a safetensors file with timm's names into `trunk`; every parameter must be in the file."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; give a safetensors file of the backbone.")
    try:
        state = load(path.read_bytes())
    except (SafetensorError, OSError) as exc:
        raise WeightsError(f"weights {path}: not a readable safetensors file ({exc}).") from exc
    load_state(trunk, state, str(path))


def load_state(trunk: Trunk, state: dict[str, Tensor], where: str) -> None:
    """Load timm's state dict; WeightsError when a parameter is missing or has another shape.

    The trunk is unchanged if the file is refused.
    """
    own = trunk.body.state_dict()
    plain = _timm_names(trunk.body, state)
    missing = [name for name in plain if name not in state]
    if missing:
        raise WeightsError(
            f"weights {where}: {len(missing)} of {len(plain)} tensors of the backbone are missing "
            f"(first: {missing[0]}); give the weights of exactly this timm model."
        )
    for name, inner in plain.items():
        if state[name].shape != own[inner].shape:
            raise WeightsError(
                f"weights {where}: tensor {name} has shape {tuple(state[name].shape)}, the backbone needs "
                f"{tuple(own[inner].shape)}; give the weights of exactly this timm model."
            )
    for name, inner in plain.items():
        own[inner].copy_(state[name])


def _timm_names(body: nn.Module, state: dict[str, Tensor]) -> dict[str, str]:
    """Map timm's name of every tensor to its name here.

    A `StaticPad` may have wrapped a convolution; timm's own feature wrappers put the network under `model.`
    or join the first two parts of a name (`stages.0` -> `stages_0`). The batch counters are left out: a
    frozen network never reads them and not every file has them.
    """
    wrapped = [f"{name}.conv." for name, module in body.named_modules() if isinstance(module, StaticPad)]
    joined = {name.replace(".", "_", 1): name for name in state}
    names = {}
    for inner in body.state_dict():
        if inner.endswith("num_batches_tracked"):
            continue
        prefix = next((prefix for prefix in wrapped if inner.startswith(prefix)), None)
        name = inner if prefix is None else prefix.removesuffix("conv.") + inner[len(prefix) :]
        known = (name, name.removeprefix("model."), joined.get(name, name))
        names[next((candidate for candidate in known if candidate in state), name)] = inner
    return names


def pretrained_weights(trunk: Trunk, config: BackboneConfig) -> str:
    """Load ImageNet weights from an installed package, else through timm; return their source.

    Raises WeightsError when neither provides them, or they are not those that are expected.
    """
    state = packaged_state(config.name)
    if state is None:
        state, origin = downloaded_state(config.name)
    else:
        origin = PACKAGES[config.name].name
    load_state(trunk, state, origin)
    return origin


def calibrate_batch_norm(trunk: Trunk, batches: Sequence[Tensor]) -> None:
    """Set the statistics of every batch norm to those of `batches`, for a trunk with random weights.

    Every layer's activations then have zero mean and unit variance on the data; untrained features are
    unusable without this.
    """
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over all batches
        nn.Module.train(norm, mode=True)
    with torch.no_grad():
        for batch in batches:
            trunk(batch)
    for norm in norms:
        norm.eval()
