"""The space ``cnn``: convolutional networks with their architecture, augmentation and optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from functools import cache
from typing import Any

from spaces.domain import Choice, Float, Integer, Parameter, Space, SpaceError, Value
from spaces.kinds import Augmentation, Loss, Network
from spaces.registry import Registry

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
AUGMENTATIONS = Registry(Augmentation, "augmentation")
SMOOTHING = "label_smoothing"
LOSSES = Registry(Loss, "loss", "losses")
LOSSES.add(Loss("cross-entropy", "torch.nn.functional:cross_entropy", takes=(SMOOTHING,)))


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


SHARED = (
    Parameter(
        "width",
        Choice((0.75, 1.0, 1.25)),
        "multiplies the channels of every layer",
        allowed=Float(0.125, 4.0),
        otherwise=1.0,
    ),
    Parameter(
        "fastnet_convolutions",
        Choice((2, 3)),
        "convolutions in each of three blocks",
        otherwise=2,
    ),
    Parameter(
        "whiten",
        Choice((True,)),
        "first filters from the training images' own patches, kept as they are",
        allowed=Choice((True, False)),
        otherwise=True,
    ),
    Parameter(
        "stem",
        Choice(("3x3", "7x7")),
        "first convolution: 3 × 3 with stride 1 and no pooling, or 7 × 7 with stride 2 and "
        "max-pooling",
        otherwise="3x3",
    ),
    Parameter(
        "stem_padding",
        Choice((1, 3)),
        "padding of a 3 × 3 stem, pixels",
        allowed=Integer(0, 4),
        when={"stem": ("3x3",)},
        otherwise=1,
    ),
    Parameter(
        "stem_convolutions",
        Choice((1, 3)),
        "convolutions before the first Inception",
        otherwise=1,
    ),
    Parameter(
        "branch3_extra",
        Choice((False, True)),
        "one more convolution in branch 3",
        otherwise=True,
    ),
    Parameter(
        "branch3_kernel",
        Choice((3, 5)),
        "kernel of branch 3's convolutions, pixels",
        otherwise=3,
    ),
    Parameter(
        "vgg_first",
        Choice((64, 96)),
        "channels of the first two convolutions",
        otherwise=64,
    ),
    Parameter(
        "densenet_depth",
        Choice((53, 89, 121)),
        "layers that learn",
        allowed=Choice((53, 89, 121, 169)),
        otherwise=121,
    ),
    Parameter(
        "densenet_growth",
        Choice((12, 24, 32)),
        "channels that each layer adds",
        allowed=Integer(4, 64),
        otherwise=32,
    ),
    Parameter(
        "dropout_place",
        Choice(("none", "head", "stages", "both")),
        "before the classifier, as whole channels after each stage, or both",
        otherwise="none",
    ),
    Parameter(
        "dropout",
        Float(0.05, 0.5),
        "fraction dropped",
        allowed=Float(0.0, 0.9),
        when={"dropout_place": ("head", "stages", "both")},
        otherwise=0.0,
    ),
)
"""What decides a network, and which take it: ``Network.takes``."""

TAKEN = (*(parameter.name for parameter in SHARED), "first_side")
"""That not every network need take."""

AUGMENTATION = (
    Parameter(
        "flip",
        Choice((0.5,)),
        "share of the epochs in which an image is mirrored",
        allowed=Float(0.0, 1.0),
    ),
    Parameter(
        "rotation",
        Float(0.0, 20.0),
        "turned by up to this many degrees either way",
        allowed=Float(0.0, 180.0),
    ),
    Parameter(
        "crop",
        Integer(0, 4),
        "shifted by up to this many pixels on each axis",
        allowed=Integer(0, 32),
    ),
    Parameter(
        "cutout",
        Choice((0, 8, 12, 16)),
        "side of a square set to the mean, pixels",
        allowed=Integer(0, 64),
    ),
    Parameter(
        "jitter",
        Float(0.0, 0.4),
        "brightness, contrast and saturation, each changed by up to this fraction",
        allowed=Float(0.0, 1.0),
    ),
    Parameter(
        "mixup",
        Choice((0.0, 0.2)),
        "alpha of the Beta distribution that mixes two images",
        allowed=Float(0.0, 4.0),
    ),
    Parameter(
        "cutmix",
        Choice((0.0, 0.5)),
        "chance that a batch's images get a box of another image",
        allowed=Float(0.0, 1.0),
    ),
    Parameter(
        "first_side",
        Choice((0.75,)),
        "side of the first epochs' images as a share of the whole, which they grow to",
        allowed=Float(0.5, 1.0),
        otherwise=1.0,
    ),
)
"""What is done to training images, anew for each image and epoch."""

OPTIMISATION = (
    Parameter("optimizer", Choice(("sgd", "adamw")), "SGD with Nesterov momentum, or AdamW"),
    Parameter(
        "learning_rate",
        Float(0.05, 1.0, log=True),
        "largest of SGD's schedule, for the mean loss of a batch",
        allowed=Float(1e-6, 100.0, log=True),
        when={"optimizer": ("sgd",)},
        otherwise=0.3,
    ),
    Parameter(
        "momentum",
        Float(0.8, 0.95),
        "of SGD",
        allowed=Float(0.0, 0.999),
        when={"optimizer": ("sgd",)},
        otherwise=0.9,
    ),
    Parameter(
        "weight_decay",
        Float(1e-4, 2e-3, log=True),
        "of SGD, times the weights in the gradient",
        allowed=Float(0.0, 1.0),
        when={"optimizer": ("sgd",)},
        otherwise=5e-4,
    ),
    Parameter(
        "adamw_learning_rate",
        Float(5e-4, 1e-2, log=True),
        "largest of AdamW's schedule",
        allowed=Float(1e-7, 1.0, log=True),
        when={"optimizer": ("adamw",)},
        otherwise=2e-3,
    ),
    Parameter(
        "adamw_weight_decay",
        Float(0.01, 0.3, log=True),
        "of AdamW, decoupled",
        allowed=Float(0.0, 10.0),
        when={"optimizer": ("adamw",)},
        otherwise=0.05,
    ),
    Parameter("batch_size", Choice((64, 128, 256)), "images a step", allowed=Integer(2, 65536)),
    Parameter(
        "schedule",
        Choice(("one-cycle", "cosine", "triangular")),
        "learning rate: warm-up then cosine, cosine from the start, or straight up and down",
    ),
    Parameter(
        "label_smoothing",
        Float(0.0, 0.2),
        "probability spread over all classes",
        allowed=Float(0.0, 0.9),
        otherwise=0.0,
    ),
    Parameter(
        "ema",
        Choice((0.0, 0.99, 0.995)),
        "decay a step of the averaged weights that are judged; 0: none",
        allowed=Float(0.0, 0.99999),
    ),
    Parameter(
        "test_flip",
        Choice((True,)),
        "judge the mean over an image and its mirror image",
        allowed=Choice((True, False)),
    ),
    Parameter(
        "test_shift",
        Choice((0,)),
        "judge it moved by so many pixels both ways too, at thrice the cost",
        allowed=Integer(0, 8),
    ),
)
"""How the network is trained, and judged."""


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
    """What is done to training images, anew for each image and epoch."""
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
    return (*(_where_taken(parameter) for parameter in AUGMENTATION), *added)


def optimisation_parameters() -> tuple[Parameter, ...]:
    """How the network is trained, and judged; the loss is a parameter where there are several."""
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
    smoothed = {"loss": tuple(name for name, kind in LOSSES.items() if SMOOTHING in kind.takes)}
    return (
        loss,
        *(
            replace(parameter, when=smoothed) if parameter.name == SMOOTHING else parameter
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
    "convolutional networks, trained from scratch",
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
)
