"""What the space ``cnn`` has for networks that begin with pretrained weights, and for
photographs.
"""

from __future__ import annotations

from spaces.domain import Choice, Float, Integer, Parameter
from spaces.kinds import Augmentation, Network
from spaces.ours.embedding import BACKBONES, EMBEDDING

PRETRAINED = "pretrained"
"""The model that is a network of timm's, with its weights."""

NETWORK = Network(
    PRETRAINED,
    "trainables.cnn.models.pretrained:pretrained",
    (
        Parameter(
            "backbone",
            EMBEDDING["backbone"].domain,
            "network of timm's, by the name of its weights",
            allowed=EMBEDDING["backbone"].limits,
            otherwise=BACKBONES[0],
        ),
        Parameter(
            "random_weights",
            Choice((False,)),
            "begin with random weights in place of its own, to compare",
            allowed=Choice((False, True)),
            otherwise=False,
        ),
    ),
    takes=("first_side",),
    recipe={
        "crop": Choice((0,)),
        "rotation": Choice((0.0,)),
        "cutout": Choice((0,)),
        "cutmix": Choice((0.0,)),
        "resized_crop": Choice((False, True)),
        "trivial_augment": Choice((False, True)),
        "optimizer": Choice(("adamw",)),
        "adamw_learning_rate": Float(3e-4, 5e-3, log=True),
        "batch_size": Choice((16, 32)),
        "ema": Choice((0.0, 0.99)),
    },
)
"""Few epochs of small batches, AdamW, and what changes photographs in place of small pictures."""

TUNING = (
    Parameter(
        "linear_probe",
        Choice((True,)),
        "begin with the head that a logistic regression on the network's features is, in place of "
        "random numbers (Kumar et al., 2022)",
        allowed=Choice((False, True)),
        otherwise=False,
        before=False,
    ),
    Parameter(
        "frozen_norms",
        Choice((True,)),
        "batch norm keeps the statistics that the weights came with",
        allowed=Choice((False, True)),
        otherwise=False,
        before=False,
    ),
    Parameter(
        "head_epochs",
        Choice((0, 1)),
        "first epochs, in which the head alone is trained",
        allowed=Integer(0, 100_000),
        otherwise=0,
    ),
    Parameter(
        "body_rate",
        Float(0.05, 1.0, log=True),
        "learning rate of all other layers, as a share of the head's",
        allowed=Float(1e-6, 1.0, log=True),
        otherwise=1.0,
        anew=True,
    ),
    Parameter(
        "layer_decay",
        Float(0.6, 1.0),
        "learning rate of a layer, as a share of the next one's (Clark et al., 2020)",
        allowed=Float(0.01, 1.0),
        otherwise=1.0,
        anew=True,
    ),
)
"""How they are trained where they begin with weights of their own."""

SIDE = Parameter(
    "side",
    Choice((0,)),
    "side of the images that it sees, pixels; 0: training.image_size",
    allowed=Choice((0, *range(32, 513, 32))),
    before=0,
    added=True,
)

AUGMENTATIONS = (
    Augmentation(
        "resized_crop",
        "show a part of each image, its sides drawn anew, at the whole size (Szegedy et al., 2014)",
        "trainables.cnn.steps.crops:resized_crop",
        (
            Parameter(
                "crop_area",
                Float(0.3, 0.9),
                "least share of an image's area that is shown",
                allowed=Float(0.05, 1.0),
                otherwise=0.3,
                anew=True,
            ),
        ),
    ),
    Augmentation(
        "trivial_augment",
        "one of 14 changes of any strength for each image (Müller & Hutter, 2021)",
        "trainables.cnn.steps.trivial:trivial_augment",
    ),
)
