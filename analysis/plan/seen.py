"""How the images of a plan are seen: read, at which size, and which of them judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from analysis.plan.complaints import PlanError
from analysis.plan.searched import Searched
from trainables.data import ReadOptions
from trainables.data.options import MIN_SIZE, MOST_CHOSEN, fitting_size
from trainables.data.validation import MANY, Validation, usual_scheme
from trainables.images.rule import Rule

MAX_SIDE = 512
"""Pixels that the longer side of a photograph keeps."""
SIDES = 4
"""Or so many times the side of the squares that learners see: 800 photographs of 1024 × 768 take 29
MB for squares of 32, and 472 MB at 512.
"""


class Seen(Searched):
    """Settings, their spaces, and what that means for the images."""

    @property
    def held_out(self) -> bool:
        """Whether any of them is judged on images held out, and no other way."""
        return any(learner.held_out for learner in self.learners if learner.space.needs_images)

    def read_options(self) -> ReadOptions:
        """How the dataset is to be read."""
        auto = self.validation == "auto"
        folds = auto and usual_scheme(self._judged, val=False) == "k-fold"
        held = self.validation == "hold-out" or (auto and (folds or self.held_out))
        return ReadOptions(
            color="rgb" if any(learner.color == "rgb" for learner in self.learners) else "grey",
            max_side=self._side,
            skip_unreadable=self.skip_unreadable,
            hold_out=self.hold_out if held else 0.0,
            hold_out_from=MANY if folds else 0,
            keep_val=auto,
            seed=self.seed,
            rule=Rule(orientation=self.orientation, fit=self.fit),
            square=self._square,
        )

    @property
    def _square(self) -> int | None:
        """The side of the squares that all learners see, 0 where what fits the images decides; None
        where they see more of them.
        """
        if self._sides - {0} or not self._only_squares:
            return None
        return self.training.image_size or 0

    @property
    def _sides(self) -> frozenset[int]:
        """Sides of images that configurations may ask for, 0 for that of the training."""
        spaces = self.search_spaces().values()
        sides = (p.domain for space in spaces for p in space.parameters if p.name == "side")
        return frozenset(int(value) for domain in sides for value in domain.values())

    @property
    def _only_squares(self) -> bool:
        seeing = [learner for learner in self.learners if learner.space.needs_images]
        return bool(seeing) and all(learner.squares for learner in seeing)

    def with_size(self, shorter: int) -> tuple[Self, tuple[str, ...]]:
        """The plan with the side decided at which networks see images whose shorter side is
        ``shorter`` pixels, in the middle, if it does not say; and what is to be told of it.
        """
        if self.training.image_size or not any(learner.squares for learner in self.learners):
            return self, ()
        size = fitting_size(shorter)
        training = self.training.model_copy(update={"image_size": size})
        told = (
            f"networks see images at {size} × {size} pixels: half of them have a shorter side of "
            f"{shorter} or more; training: {{image_size: N}} or --set side=N says otherwise"
        )
        plan = self.model_copy(update={"training": training})
        return plan, (told,) if shorter > MIN_SIZE else ()

    def with_side(self) -> Self:
        """The plan with ``max_side`` decided, so that a later release reads its images as this one
        does.
        """
        return self.model_copy(update={"max_side": self._side})

    @property
    def _side(self) -> int:
        if self.max_side is not None:
            return self.max_side
        if not self._only_squares:
            return MAX_SIDE
        asked = self._sides | {self.training.image_size or MOST_CHOSEN}
        return min(MAX_SIDE, SIDES * max(asked))

    def validation_for(self, splits: dict[str, int]) -> Validation:
        """How configurations are compared on a dataset with these splits.

        Raises:
            PlanError: if the plan asks for a val split that is not there.
        """
        usual = usual_scheme(self._judged, val="val" in splits)
        scheme = usual if self.validation == "auto" else self.validation
        if scheme == "hold-out":
            scheme = "val"
        if scheme == "val" and "val" not in splits:
            raise PlanError(
                f"validation: val needs a val split, but {self.dataset} has "
                f"{', '.join(splits)}; use leave-one-out, k-fold or hold-out"
            )
        return Validation(scheme, self.folds, self.seed)

    @property
    def _judged(self) -> Sequence[Sequence[str]]:
        return [one.validations for one in self.learners if one.space.needs_images]
