"""The space ``cnn``: convolutional networks with their architecture, augmentation and optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from functools import cache
from typing import Any

from spaces.domain import Choice, Domain, Parameter, SpaceError, Value
from spaces.kinds import Augmentation, Loss, Network
from spaces.ours import tuning
from spaces.ours.network import AUGMENTATION, OF_LOSSES, OPTIMISATION, SHARED, TAKEN
from spaces.registry import Registry
from spaces.space import Space

DROPOUT = ("dropout_place", "dropout")
STEM = ("width", "stem", "stem_padding", *DROPOUT)
INCEPTION = (*STEM, "stem_convolutions", "branch3_extra", "branch3_kernel")
NETWORKS = Registry(Network, "model")
for _name, _build, _takes in (
    (
        "fastnet",
        "fastnet:FastNet",
        ("width", "fastnet_convolutions", "whiten", "first_side", *DROPOUT),
    ),
    ("resnet18", "resnet:ResNet18", (*STEM, "first_side")),
    ("mynet", "googlenet:my_net", INCEPTION),
    ("googlenet", "googlenet:GoogLeNet", INCEPTION),
    (
        "densenet",
        "densenet:DenseNet",
        ("stem", "stem_padding", "densenet_depth", "densenet_growth", *DROPOUT),
    ),
    ("vgg16", "vgg:vgg16", ("width", "vgg_first", *DROPOUT)),
    ("vgg19", "vgg:vgg19", ("width", "vgg_first", *DROPOUT)),
    ("alexnet", "alexnet:AlexNet", ("width", *DROPOUT)),
    ("lenet", "lenet:LeNet", ("width", *DROPOUT)),
):
    NETWORKS.add(Network(_name, f"trainables.cnn.models.{_build}", takes=_takes))
NETWORKS.add(tuning.NETWORK)
AUGMENTATIONS = Registry(Augmentation, "augmentation")
for _augmentation in tuning.AUGMENTATIONS:
    AUGMENTATIONS.add(_augmentation)
LOSSES = Registry(Loss, "loss", "losses")
LOSSES.add(Loss("cross-entropy", "torch.nn.functional:cross_entropy", takes=OF_LOSSES))


@dataclass(frozen=True)
class CnnConfig:
    """One configuration of the space ``cnn``; the fields are its parameters, the defaults a recipe
    to start from.
    """

    model: str = "fastnet"
    width: float = 1.0
    fastnet_convolutions: int = 2
    whiten: bool = True
    stem: str = "3x3"
    stem_padding: int = 1
    stem_convolutions: int = 1
    branch3_extra: bool = True
    branch3_kernel: int = 3
    vgg_first: int = 64
    densenet_depth: int = 121
    densenet_growth: int = 32
    dropout_place: str = "none"
    dropout: float = 0.0
    flip: float = 0.5
    rotation: float = 0.0
    crop: int = 2
    cutout: int = 0
    jitter: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    first_side: float = 1.0
    optimizer: str = "sgd"
    learning_rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    adamw_learning_rate: float = 2e-3
    adamw_weight_decay: float = 0.05
    batch_size: int = 128
    schedule: str = "one-cycle"
    label_smoothing: float = 0.1
    class_weight: str = "none"
    sampling: str = "shuffled"
    ema: float = 0.99
    test_flip: bool = True
    test_shift: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> CnnConfig:
        """A configuration as it stands in a record; what plug-ins add to the space are fields too.

        Raises:
            TypeError: for a name that is no parameter of the space.
        """
        more = tuple(name for name in config if name not in cls.__dataclass_fields__)
        if unknown := set(more) - {parameter.name for parameter in parameters()}:
            raise TypeError(f"space cnn has no parameter {', '.join(sorted(unknown))}")
        return _with(more)(**config) if more else cls(**config)

    def tweaks(self) -> dict[str, Value]:
        """The architecture parameters that apply, as ``trainables.cnn.models.build`` takes them."""
        return self.applying(architecture_parameters()[1:])

    def side_of(self, otherwise: int) -> int:
        """Side of the images that it sees, pixels: ``otherwise`` where it does not say."""
        return int(getattr(self, "side", 0)) or otherwise

    def own(self, thing: Network | Augmentation | Loss) -> dict[str, Any]:
        """The values of a thing's own parameters, and of those that it takes."""
        names = (*(parameter.name for parameter in thing.parameters), *getattr(thing, "takes", ()))
        unsaid = {parameter.name: parameter.otherwise for parameter in thing.parameters}
        return {name: getattr(self, name, unsaid.get(name)) for name in names}

    def applying(self, some: Iterable[Parameter]) -> dict[str, Value]:
        """The values of those parameters that apply, in their order."""
        some = tuple(some)
        unsaid = {p.name: p.otherwise for p in some if p.otherwise is not None}
        config: dict[str, Value] = unsaid | asdict(self)
        return {p.name: config[p.name] for p in some if p.applies(config)}


@cache
def _with(more: tuple[str, ...]) -> type[CnnConfig]:
    fields = [(name, Any, field(kw_only=True)) for name in more]
    return make_dataclass("CnnConfig", fields, bases=(CnnConfig,), frozen=True)


def architecture_parameters() -> tuple[Parameter, ...]:
    """What decides the network: which, what networks share, and what is one's own."""
    model = Parameter(
        "model",
        Choice(("fastnet",)),
        "network; the others are allowed, but slow without a GPU",
        allowed=Choice(tuple(NETWORKS)),
    )
    shared = (_where_taken(parameter) for parameter in SHARED)
    own = (
        parameter
        for network in NETWORKS.values()
        for parameter in _only(network.parameters, {"model": (network.name,)})
    )
    return (model, *shared, *own)


def augmentation_parameters() -> tuple[Parameter, ...]:
    """The parameters of what is done to training images, drawn anew for each image and epoch. The
    first parameter is the images' side in pixels.
    """
    added = (
        parameter
        for name, kind in AUGMENTATIONS.items()
        for parameter in (
            Parameter(
                name,
                Choice((False,)),
                kind.doc,
                allowed=Choice((False, True)),
                before=False,
                added=True,
            ),
            *_only(kind.parameters, {name: (True,)}),
        )
    )
    return (*(_where_taken(parameter) for parameter in AUGMENTATION), *added, tuning.SIDE)


def optimisation_parameters() -> tuple[Parameter, ...]:
    """How the network is trained, and judged; the loss is a parameter where there are several."""
    weighed: dict[str, tuple[Value, ...]]
    weighed = {"model": (tuning.PRETRAINED,), "random_weights": (False,)}
    return (*_losses(), *_only(tuning.TUNING, weighed))


def _losses() -> tuple[Parameter, ...]:
    if len(LOSSES) == 1:
        return OPTIMISATION
    first = next(iter(LOSSES))
    loss = Parameter(
        "loss",
        Choice((first,)),
        "what training makes small",
        allowed=Choice(tuple(LOSSES)),
        before=first,
        added=True,
    )
    takers = {
        of: tuple(name for name, kind in LOSSES.items() if of in kind.takes) for of in OF_LOSSES
    }
    return (
        loss,
        *(
            replace(parameter, when={"loss": takers[parameter.name]})
            if parameter.name in OF_LOSSES
            else parameter
            for parameter in OPTIMISATION
        ),
        *(
            parameter
            for name, kind in LOSSES.items()
            for parameter in _only(kind.parameters, {"loss": (name,)})
        ),
    )


def parameters() -> tuple[Parameter, ...]:
    """With the networks, augmentations and losses that there are now."""
    return architecture_parameters() + augmentation_parameters() + optimisation_parameters()


def _recipe(domains: Mapping[str, Domain]) -> Mapping[str, Domain]:
    """What is tried of other parameters where every network that is searched asks for it."""
    recipes = [NETWORKS[str(name)].recipe for name in domains["model"].values()]
    return {
        name: domain
        for name, domain in recipes[0].items()
        if all(recipe.get(name) == domain for recipe in recipes)
    }


def _where_taken(parameter: Parameter) -> Parameter:
    """``parameter`` on the condition that the network takes it, if one does not."""
    takers = tuple(name for name, kind in NETWORKS.items() if parameter.name in kind.takes)
    if parameter.name not in TAKEN or len(takers) == len(NETWORKS):
        return parameter
    return replace(parameter, when={"model": takers, **(parameter.when or {})})


def _only(own: Iterable[Parameter], condition: Mapping[str, tuple[Value, ...]]) -> list[Parameter]:
    """Parameters of one thing, on the condition that it is the one in use."""
    for parameter in own:
        if parameter.otherwise is None:
            raise SpaceError(f"parameter {parameter.name} needs a value for otherwise")
    return [
        replace(parameter, when={**condition, **(parameter.when or {})}, added=True)
        for parameter in own
    ]


CNN = Space(
    "cnn",
    "convolutional networks, trained from scratch or from pretrained weights",
    parameters(),
    reports="epoch",
    metrics=(
        "val_accuracy",
        "val_loss",
        "train_accuracy",
        "train_loss",
        "balanced_accuracy",
        "macro_f1",
        "epoch",
        "model_mb",
        "seconds",
    ),
    config=CnnConfig.of,
    recipe=_recipe,
    pruner="asha",
)
