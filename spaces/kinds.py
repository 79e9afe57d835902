"""What a search can be given, beside learners: distances, networks, objectives and so on, each one
frozen value with a name, whether it is ours or a plug-in's.

A function of ours is named by where it is, ``"module:name"``, and imported when it is first asked
for, so that a list of names loads nothing.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spaces.domain import Domain, Parameter
from spaces.errors import UserError

Function = Callable[..., Any] | str


def function_of(where: Function) -> Callable[..., Any]:
    """The function itself, imported if it is named by its place."""
    return pkgutil.resolve_name(where) if isinstance(where, str) else where


@dataclass(frozen=True)
class Distance:
    """A value of ``metric`` in the kNN spaces.

    Attributes:
        function: ``function(x, y)`` gives the (m, n) float64 distances from (m, d) to (n, d)
            float64 vectors; finite and not negative. A row must not depend on the other rows.
        signed: whether it is defined for negative numbers too; if not, for histograms alone.
        blind: whether the length of a vector is nothing to it, so that no norm is tried with it.
    """

    name: str
    function: Function
    signed: bool = False
    blind: bool = False

    def __call__(self, x: Any, y: Any) -> Any:
        return function_of(self.function)(x, y)


RESERVED = (
    "step", "done", "report", "predictions", "shares", "accuracy_by_k", "digests", "started",
    "node", "log", "failure", "traceback", "config", "trial_id", "training_iteration", "timestamp",
    "pid",
)  # fmt: skip
"""What else stands in a trial's results."""


@dataclass(frozen=True)
class Objective:
    """A figure by which trials are compared.

    Attributes:
        direction: which way is better.
        doc: what it is, with its unit.
        digits: shown after the point.
        function: ``function(labels, predictions, classes)`` gives a float for (n,) int64 true and
            predicted classes of the validation images; None for what a trial measures itself.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    doc: str
    digits: int = 4
    function: Function | None = None

    def __post_init__(self) -> None:
        if self.name in RESERVED:
            raise UserError(f"an objective cannot be called {self.name}: results have that already")

    def better(self, value: float, than: float) -> bool:
        return value > than if self.direction == "maximize" else value < than


@dataclass(frozen=True)
class Network:
    """A value of ``model`` in the space ``cnn``.

    Attributes:
        build: ``build(classes, size, **tweaks)`` gives a torch module from (n, 3, size, size)
            float images to (n, classes) scores. It is given the parameters of ``takes`` and its
            own, by name.
        parameters: its own; each needs a value for ``otherwise``, which it has for other networks.
        takes: what it takes of the parameters that networks share (``width``, ``dropout`` and so
            on), and ``first_side`` where it can be shown images of any side.
        recipe: what a search tries of other parameters, by name, in place of their own domains
            where every network of it has such a recipe and the user does not say.
    """

    name: str
    build: Function
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[str, ...] = ()
    recipe: Mapping[str, Domain] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Augmentation:
    """What may be done to the training images of a network, asked for with ``NAME=true``.

    Attributes:
        function: ``function(images, generator, **parameters)`` gives new images for (n, 3, size,
            size) float images in 0..255 on the device, drawn anew for each with ``generator``.
        parameters: its own; each needs a value for ``otherwise``, which it has where it is off.
    """

    name: str
    doc: str
    function: Function
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Loss:
    """A value of ``loss`` in the space ``cnn``: what training makes small.

    Attributes:
        function: ``function(scores, labels, **parameters)`` gives the mean over a batch, as a
            tensor, of (n, classes) float32 scores and (n,) int64 labels.
        parameters: its own; each needs a value for ``otherwise``.
        takes: what it takes of the parameters that losses share (``label_smoothing``, and
            ``class_weight``, given as ``weight``, (classes,) float32, where classes weigh alike).
    """

    name: str
    function: Function
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A kind of dataset, the word before the colon of a SPEC.

    Attributes:
        doc: what it reads.
        read: ``read(spec, place, options)`` gives a ``trainables.data.Dataset``; ``options`` are
            ``trainables.data.ReadOptions``, and ``place`` is what stands behind the colon, or
            ``default``.
        check: ``check(spec, place)`` raises ``spaces.errors.DatasetError`` for what a look without
            opening an image shows to be wrong; None where there is nothing to look at.
        place: what stands behind the colon, ``"DIR"``; in brackets where it may be left out, and
            empty where there must be none.
        default: the place where none is given.
        path: whether the place is a path, which is made absolute, or a URI.
        files: ``files(spec, place, options)`` gives the image files as a
            ``trainables.data.listed.Listed``; None where images have no files of their own.
        ours: it comes with a library, as everybody's does: no user put it together.
    """

    name: str
    doc: str
    read: Function
    check: Function | None = None
    place: str = "DIR"
    default: str = ""
    path: bool = True
    files: Function | None = None
    ours: bool = False

    @property
    def spec(self) -> str:
        """How a SPEC of this kind is written, ``folder:DIR``."""
        if self.place.startswith("["):
            return f"{self.name}[:{self.place[1:]}"
        return f"{self.name}:{self.place}" if self.place else self.name
