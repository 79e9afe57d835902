"""What networks, their augmentation and their training have in common: parameters of the space
``cnn``.
"""

from __future__ import annotations

from spaces.domain import Choice, Float, Integer, Parameter

SMOOTHING, WEIGHTS = "label_smoothing", "class_weight"
OF_LOSSES = (SMOOTHING, WEIGHTS)
"""What losses share, as far as they take it: ``Loss.takes``."""

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
        anew=True,
    ),
    Parameter(
        "rotation",
        Float(0.0, 20.0),
        "turned by up to this many degrees either way",
        allowed=Float(0.0, 180.0),
        anew=True,
    ),
    Parameter(
        "crop",
        Integer(0, 4),
        "shifted by up to this many pixels on each axis",
        allowed=Integer(0, 32),
        anew=True,
    ),
    Parameter(
        "cutout",
        Choice((0, 8, 12, 16)),
        "side of a square set to the mean, pixels",
        allowed=Integer(0, 64),
        anew=True,
    ),
    Parameter(
        "jitter",
        Float(0.0, 0.4),
        "brightness, contrast and saturation, each changed by up to this fraction",
        allowed=Float(0.0, 1.0),
        anew=True,
    ),
    Parameter(
        "mixup",
        Choice((0.0, 0.2)),
        "alpha of the Beta distribution that mixes two images",
        allowed=Float(0.0, 4.0),
        anew=True,
    ),
    Parameter(
        "cutmix",
        Choice((0.0, 0.5)),
        "chance that a batch's images get a box of another image",
        allowed=Float(0.0, 1.0),
        anew=True,
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
        anew=True,
    ),
    Parameter(
        "momentum",
        Float(0.8, 0.95),
        "of SGD",
        allowed=Float(0.0, 0.999),
        when={"optimizer": ("sgd",)},
        otherwise=0.9,
        anew=True,
    ),
    Parameter(
        "weight_decay",
        Float(1e-4, 2e-3, log=True),
        "of SGD, times the weights in the gradient",
        allowed=Float(0.0, 1.0),
        when={"optimizer": ("sgd",)},
        otherwise=5e-4,
        anew=True,
    ),
    Parameter(
        "adamw_learning_rate",
        Float(5e-4, 1e-2, log=True),
        "largest of AdamW's schedule",
        allowed=Float(1e-7, 1.0, log=True),
        when={"optimizer": ("adamw",)},
        otherwise=2e-3,
        anew=True,
    ),
    Parameter(
        "adamw_weight_decay",
        Float(0.01, 0.3, log=True),
        "of AdamW, decoupled",
        allowed=Float(0.0, 10.0),
        when={"optimizer": ("adamw",)},
        otherwise=0.05,
        anew=True,
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
        anew=True,
    ),
    Parameter(
        WEIGHTS,
        Choice(("none",)),
        "weight of a class's images in the loss: 1, or such that all classes weigh the same",
        allowed=Choice(("none", "balanced")),
        otherwise="none",
        before="none",
        added=True,
    ),
    Parameter(
        "sampling",
        Choice(("shuffled",)),
        "an epoch's images: each once, or as many drawn with all classes equally likely",
        allowed=Choice(("shuffled", "balanced")),
        before="shuffled",
        added=True,
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
