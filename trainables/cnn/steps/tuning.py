"""How a network that begins with pretrained weights is trained: its head first, then all of it,
each layer at a rate of its own.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spaces.ours.cnn import CnnConfig
from spaces.ours.tuning import PRETRAINED


def begins_pretrained(config: CnnConfig) -> bool:
    """Whether the network begins with weights that were learned elsewhere."""
    return config.model == PRETRAINED and not getattr(config, "random_weights", False)


def is_probed(config: CnnConfig) -> bool:
    """Whether a new head begins as ``trainables.cnn.steps.probe`` finds it."""
    return begins_pretrained(config) and bool(getattr(config, "linear_probe", False))


def head_epochs(config: CnnConfig) -> int:
    """First epochs, in which the head alone is trained."""
    return int(getattr(config, "head_epochs", 0)) if begins_pretrained(config) else 0


def first_side(net: nn.Module, config: CnnConfig) -> float:
    """Side of the first epochs' images as a share of the whole; 1 where a network sees one alone,
    as transformers with a table of positions do.
    """
    known = getattr(net, "pretrained_cfg", None) or {}
    return 1.0 if known.get("fixed_input_size") else config.first_side


def head_of(net: nn.Module) -> tuple[str, ...]:
    """Names of the layers that tell classes apart: those timm names, or the last linear one."""
    known = getattr(net, "pretrained_cfg", None)
    named = known["classifier"] if known else ""
    if named:
        return (named,) if isinstance(named, str) else tuple(named)
    return tuple(name for name, one in net.named_modules() if isinstance(one, nn.Linear))[-1:]


def in_head(net: nn.Module) -> set[str]:
    """Names of the parameters of ``head_of``."""
    heads = tuple(f"{name}." for name in head_of(net))
    return {name for name, _ in net.named_parameters() if name.startswith(heads)}


def of_epoch(net: nn.Module, config: CnnConfig, epoch: int) -> None:
    """Have ``net`` ready for a training in ``epoch``, from 0.

    While the head alone is trained everything else is as it is when judged, and no gradient is
    computed. With ``frozen_norms`` batch norm keeps the statistics that the weights came with all
    the time: those of small batches of a few hundred images are others.
    """
    net.train()
    if begins_pretrained(config) and getattr(config, "frozen_norms", False):
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    if not head_epochs(config):
        return
    alone = epoch < head_epochs(config)
    if alone:
        net.train(False)
        for name in head_of(net):
            net.get_submodule(name).train()
    learned = in_head(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not alone or name in learned)


def stretch(config: CnnConfig, epoch: int, epochs: int) -> tuple[int, int]:
    """First epoch and number of epochs that the schedule is laid over in ``epoch``: those of the
    head alone, or those of all.
    """
    first = min(head_epochs(config), epochs)
    return (0, first) if epoch < first else (first, epochs - first)


def layer_groups(net: nn.Module, config: CnnConfig, decay: float) -> list[dict[str, Any]]:
    """The parameters of a pretrained network as an optimiser takes them, each group with the
    ``lr_scale`` of its layer; weights decay, biases and norms do not.
    """
    from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]

    head = in_head(net)
    heads = {id(parameter) for name, parameter in net.named_parameters() if name in head}
    never = net.no_weight_decay() if hasattr(net, "no_weight_decay") else ()  # type: ignore[operator]
    groups = param_groups_layer_decay(
        net, decay, no_weight_decay_list=never, layer_decay=getattr(config, "layer_decay", 1.0)
    )
    body = getattr(config, "body_rate", 1.0)
    split = []
    for group in groups:
        for scale, inside in ((1.0, True), (body * group["lr_scale"], False)):
            some = [one for one in group["params"] if (id(one) in heads) == inside]
            if some:
                split.append({**group, "params": some, "lr_scale": scale})
    return split
