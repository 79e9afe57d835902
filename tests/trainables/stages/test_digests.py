"""Digests of stages: all that decides an answer is in them, above all the code; and a result on
disk is believed only if whole.
"""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from finished import BAG, TINY

import trainables
from spaces import get_space
from spaces.domain import Choice
from trainables.data import Dataset, Images, ReadOptions, Split
from trainables.data.source import data_source
from trainables.data.validation import Validation
from trainables.knn.pipeline import features_stage, neighbours_stage, validation_stage
from trainables.stages import cache as stage_cache
from trainables.stages.cache import DiskCache
from trainables.stages.stage import Stage, code_version

PACKAGE = Path(trainables.__file__).parent


def numbers(*inputs: Any, **parameters: Any) -> np.ndarray:
    return np.arange(4)


# The code


def loaded_from(copy: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of ``code_version``, from a copy of the package."""
    path = copy / Path(inspect.getsourcefile(inspect.unwrap(code_version)) or "").relative_to(
        PACKAGE
    )
    spec = importlib.util.spec_from_file_location("stages_of_a_copy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "stages_of_a_copy", module)
    spec.loader.exec_module(module)
    return module


def test_every_source_file_of_the_package_is_in_every_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old results would be served for new code, from whichever folder of the package that code
    is.
    """
    copy = Path(
        shutil.copytree(
            PACKAGE, tmp_path / "trainables", ignore=shutil.ignore_patterns("__pycache__")
        )
    )
    module = loaded_from(copy, monkeypatch)

    def version() -> str:
        module.code_version.cache_clear()
        return str(module.code_version())

    before = version()
    assert before == code_version() == version()
    files = sorted(copy.rglob("*.py"))
    assert {"knn", "data", "cnn", "models"} <= {path.parent.name for path in files}
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + b"#")
        assert version() != before, f"{path.relative_to(copy)} may change and old results be served"
        path.write_bytes(content)


def test_a_digest_holds_the_version_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version alone keeps nobody from an old result: it must be in each key, also through the
    stages upstream.
    """

    def chain() -> list[str]:
        first = Stage(numbers, {"value": 1})
        return [first.digest, Stage(numbers, {}, (first,)).digest]

    before = chain()
    monkeypatch.setattr(sys.modules[code_version.__module__], "code_version", lambda: "another")
    assert all(now != then for now, then in zip(chain(), before, strict=True))


def test_functions_of_one_name_in_two_modules_are_two() -> None:
    """Two plug-ins may well both call theirs ``features``."""
    twin = FunctionType(numbers.__code__, globals(), "numbers")
    twin.__module__ = "elsewhere"
    assert Stage(twin, {}).digest != Stage(numbers, {}).digest


# Parameters and inputs


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_input_is_in_a_digest(place: int) -> None:
    """The groups that are left out are a third input, and words a second: another one is another
    answer.
    """
    inputs = [Stage(numbers, {"value": n}) for n in range(3)]
    before = Stage(numbers, {}, tuple(inputs)).digest
    inputs[place] = Stage(numbers, {"value": 9})
    assert Stage(numbers, {}, tuple(inputs)).digest != before
    del inputs[place]
    assert Stage(numbers, {}, tuple(inputs)).digest != before


def test_every_parameter_is_in_a_digest_however_deep() -> None:
    """A setting that is left out of the key is a setting without effect once anything is on
    disk.
    """
    values: list[dict[str, Any]] = [
        {},
        {"a": 1},
        {"b": 1},
        {"a": 2},
        {"a": 1, "b": 2},
        {"a": 2, "b": 1},
        {"a": [1]},
        {"a": {"c": 1}},
        {"a": {"c": 2}},
    ]
    assert len({Stage(numbers, parameters).digest for parameters in values}) == len(values)


def source(pixels: int = 0) -> Any:
    images = Images.from_arrays([np.full((40, 40), pixels + 5 * n, np.uint8) for n in range(12)])
    return data_source(
        Dataset(
            "here",
            ("a", "b"),
            Split(images, np.arange(12) % 2),
            test=Split(images[:4], np.arange(4) % 2),
        ),
        ReadOptions(),
    )


@pytest.mark.parametrize(("space", "config"), [("tiny-image", TINY), ("bag-of-sift", BAG)])
def test_every_parameter_of_a_space_but_the_vote_decides_the_neighbours(
    space: str, config: dict[str, Any]
) -> None:
    """A parameter that a stage is not told of is searched in vain; k and vote only read what is
    there.
    """
    data, plain = source(), {**config, "metric": "cityblock", "norm": "l1"}

    def digest(**changes: Any) -> str:
        return validation_stage(
            get_space(space).typed(plain | changes), data, Validation("leave-one-out"), 0
        ).digest

    for parameter in get_space(space).parameters:
        limits = parameter.limits
        others = [
            value
            for value in (limits.options if isinstance(limits, Choice) else limits.values())
            if value != plain[parameter.name]
        ]
        same = parameter.name in ("k", "vote")
        assert all(
            (digest(**{parameter.name: value}) == digest()) == same for value in others[:8]
        ), parameter.name


def test_seed_images_and_validation_decide_the_neighbours() -> None:
    """Another draw of folds or words, and other images, are other answers; the test split's are
    never validation's.
    """
    config = get_space("bag-of-sift").typed(BAG)
    found = [
        validation_stage(config, source(), Validation("k-fold", 3, 0), 0),
        validation_stage(config, source(), Validation("k-fold", 3, 1), 0),
        validation_stage(config, source(), Validation("k-fold", 4, 0), 0),
        validation_stage(config, source(), Validation("k-fold", 3, 0), 1),
        validation_stage(config, source(1), Validation("k-fold", 3, 0), 0),
        validation_stage(config, source(), Validation("leave-one-out"), 0),
        neighbours_stage(config, source(), "test", 0),
    ]
    assert len({stage.digest for stage in found}) == len(found)


TOLD: dict[str, set[str]] = {
    "sampled_descriptors": {"vocabulary_step", "bin_size", "fast", "scales"},
    "vocabulary": {"vocabulary_step", "bin_size", "fast", "scales", "transform", "vocabulary_size"},
    "dense_descriptors": {"step", "bin_size", "fast", "scales"},
}
TOLD["word_counts"] = TOLD["vocabulary"] | TOLD["dense_descriptors"] | {"assignment"}
TOLD["inverse_document_frequency"] = TOLD["word_counts"]
TOLD["region_features"] = TOLD["word_counts"] | {"regions", "norm", "idf"}


def test_a_stage_is_told_of_every_parameter_it_depends_on() -> None:
    """A vocabulary of one size of descriptors, counted with three, is made of other descriptors
    than it is compared with.
    """
    data, changes = (
        source(),
        {name: 3 if isinstance(value, int) else "other" for name, value in BAG.items()},
    )

    def digests(stage: Stage) -> dict[str, str]:
        return {stage.name: stage.digest} | {
            name: digest for above in stage.inputs for name, digest in digests(above).items()
        }

    def of(**change: Any) -> dict[str, str]:
        return digests(
            features_stage(get_space("bag-of-sift").typed(BAG | change), data, "train", 0)
        )

    plain = of()
    for name in set(BAG) - {"idf"}:
        changed = of(**{name: changes[name]})
        assert {stage for stage in TOLD if changed[stage] != plain[stage]} == {
            stage for stage in TOLD if name in TOLD[stage]
        }, name
    assert of(idf=False)["region_features"] != plain["region_features"]


# What lies on disk


def test_a_result_whose_note_was_not_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note stands for both files, so it comes last: a disk that fills up between them leaves
    nothing that is believed.
    """
    written: list[str] = []
    write: Callable[..., None] = stage_cache.write_whole

    def full_after_one(path: Path, *content: Any, **options: Any) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path.suffix)
        write(path, *content, **options)

    stage, cache = Stage(numbers, {"value": 1}), DiskCache(tmp_path / "cache", 2**20)
    monkeypatch.setattr(stage_cache, "write_whole", full_after_one)
    cache.write(stage, np.arange(4))
    assert written == [".safetensors"]
    assert not cache.has(stage)
    assert cache.read(stage) is None
    assert cache.entries() == []


@pytest.mark.parametrize("place", [0, 9, 40, -40, -1])
def test_one_changed_byte_anywhere_makes_a_kept_result_none(tmp_path: Path, place: int) -> None:
    """The header says where the arrays lie and of what kind they are: a byte of it is as bad as a
    byte of them.
    """
    stage, cache = Stage(numbers, {"value": 1}), DiskCache(tmp_path / "cache", 2**20)
    cache.write(stage, {"indices": np.arange(12), "distances": np.arange(12) / 7})
    path = cache.folder / f"{stage.digest}.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 2
    path.write_bytes(content)
    assert cache.read(stage) is None
    assert not cache.has(stage)
