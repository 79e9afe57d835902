"""Tables of images: what they say is read, what cannot be is one line, and no group is parted."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from one_ray import OneRay
from planted import photograph
from program import output, refused, typed

from spaces.errors import DatasetError
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.validation import held_out_rows, validation_groups
from trainables.tables import columns as T  # noqa: N812

ROWS = [
    ("images/b1.png", "bee", "train", "p1"),
    ("images/a1.png", "ant", "train", "p1"),
    ("images/a2.png", "ant", "train", "p2"),
    ("images/b2.png", "bee", "train", "p3"),
    ("images/a3.png", "ant", "test", "p4"),
    ("images/b3.png", "bee", "testing", "p5"),
]
HEADER = "path,label,split,group"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for seed, (name, *_) in enumerate(ROWS):
        photograph(seed, 24, 24).save(tmp_path / name)
    return tmp_path


def written(folder: Path, text: str, encoding: str = "utf-8") -> str:
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return f"csv:{folder / 't.csv'}"


def table(rows: list[tuple[str, ...]] = ROWS, header: str = HEADER, end: str = "\n") -> str:
    return end.join([header, *(",".join(row) for row in rows)]) + end


def read(spec: str) -> Dataset:
    return read_dataset(spec, ReadOptions())


def test_a_table_gives_what_a_folder_of_the_same_images_gives(folder: Path) -> None:
    """Labels, splits and pixels are the same, whoever lists the files; groups come beside them."""
    found = read(written(folder, table()))
    for name, label, split, _ in ROWS:
        part = {"testing": "test"}.get(split, split)
        there = folder / "tree" / part / label / Path(name).name
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, there)
    tree = read(f"folder:{folder / 'tree'}")
    assert found.classes == tree.classes
    for part, split in tree.splits().items():
        mine = found.splits()[part]
        assert mine.labels.tolist() == split.labels.tolist()
        assert all((a == b).all() for a, b in zip(mine.images, split.images, strict=True))
    assert found.train.groups is not None
    assert len(np.unique(found.train.groups)) == 3
    assert found.fingerprint != tree.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        table(end="\r\n"),
        table(end="\r"),
        "\ufeff" + table(),
        table(header="Image,Class,Subset,Group_ID"),
        table([(f'"{name}"', *rest) for name, *rest in ROWS]),
        table([(name.replace("/", "\\"), *rest) for name, *rest in ROWS]),
        table()[:-1],
    ],
)
def test_tables_of_other_programs_are_read_alike(folder: Path, text: str) -> None:
    """Spreadsheets write marks, quotes and ends of lines of their own."""
    assert read(written(folder, text)).fingerprint == read(written(folder, table())).fingerprint


def test_parquet_is_read_alike(folder: Path) -> None:
    """Columns of words are often stored as a dictionary, and labels as numbers."""
    columns = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    written_ = pa.table(columns | {"split": pa.array(columns["split"]).dictionary_encode()})
    pq.write_table(written_, folder / "t.parquet")
    found = read(f"parquet:{folder / 't.parquet'}")
    assert found.fingerprint == read(written(folder, table())).fingerprint
    numbered = pa.table({"path": columns["path"][:4], "label": [1, 0, 0, 1]})
    pq.write_table(numbered, folder / "n.parquet")
    assert read(f"parquet:{folder / 'n.parquet'}").classes == ("0", "1")


BAD: dict[str, tuple[str, str]] = {
    "endless name": (f"{'x' * 140_000},label\n", "is no names of columns"),
    "missing column": (table(header="path,kind,split,group"), "no column for the label"),
    "two columns": (table(header="path,label,class,group"), "are all for the label"),
    "missing file": (table([("images/none.png", "ant", "train", "p1")]), "no such file"),
    "leaves upward": (table([("../a.png", "ant", "train", "p1")]), "leaves the folder"),
    "absolute": (table([("/etc/passwd", "ant", "train", "p1")]), "leaves the folder"),
    "another drive": (table([("C:\\a.png", "ant", "train", "p1")]), "leaves the folder"),
    "empty label": (table([("images/a1.png", "", "train", "p1")]), "row 1: label is empty"),
    "empty path": (table([("", "ant", "train", "p1")]), "path is empty"),
    "group without label": (table([("images/a1.png", " ", "", "p1")]), "label is empty"),
    "some without group": (table([*ROWS[:3], (*ROWS[3][:3], "")]), "row 4: has no group"),
    "group on both sides": (table([*ROWS, ("images/x.png", "ant", "test", "p1")]), "group 'p1'"),
    "unknown split": (table([(*ROWS[0][:2], "sometimes", "p1")]), "'sometimes'"),
    "twice": (table([*ROWS, ROWS[0]]), "stands in row 1 too"),
    "uneven rows": (table() + "images/a1.png,ant\n", "cannot be read as a table"),
    "nothing": ("", "has no rows"),
    "no line": ("\n\n", "has no rows"),
    "one line of another kind": ("<html>404</html>", "no column for the path"),
    "semicolons": (table().replace(",", ";"), "parted by commas, not by ';'"),
    "tabs": (table().replace(",", "\t"), "parted by commas, not by '\\t'"),
    "quote never closed": (HEADER + '\n"' + "images/a1.png,ant\n" * 120_000, "never closed"),
    "NUL in a label": (
        table([(ROWS[0][0], "a\0t", "", "p1"), *ROWS[1:]]),
        "row 1: label has a NUL",
    ),
    "NUL in a path": (table([("images/a\0.png", "ant", "", "p1")]), "leaves the folder"),
    "NUL bytes alone": ("\0" * 1000, "is not UTF-8"),
    "UTF-16 without its mark": ("\0".join(table()), "is not UTF-8"),
    "endless label": (table([ROWS[0], (ROWS[1][0], "x" * 5000, "", "p1")]), "row 2: label has"),
    "endless path": (table([("images/" + "x" * 3000 + ".png", "a", "", "p1")]), "no such file"),
    "header alone": (HEADER + "\n", "has no rows"),
    "no training": (table([(*ROWS[4],)]), "no row of train"),
    "class of the test alone": (
        table([*ROWS[:4], ("images/a3.png", "wasp", "test", "p9")]),
        "no training images of wasp",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_table_cannot_say_is_one_line(folder: Path, kind: str) -> None:
    """Whoever made a table of thousands of rows must be told which, and of what."""
    (folder / "images/x.png").write_bytes((folder / "images/a1.png").read_bytes())
    text, said = BAD[kind]
    words = ("--space", "tiny-image", "--trials", 1, "--dry-run")
    assert said in refused("run", "--dataset", written(folder, text), *words)


def test_other_encodings_links_and_columns_are_one_line(folder: Path, tmp_path: Path) -> None:
    """Bytes that are no UTF-8, a link that leaves, numbers with a point: each is said."""
    latin = table([(*ROWS[0][:1], "Bär", *ROWS[0][2:])])
    for encoding in ("latin-1", "utf-16"):
        assert "UTF-8" in refused("check", written(folder, latin, encoding))
    (folder / "images/out.png").symlink_to("/etc/passwd")
    link = table([("images/out.png", "ant", "train", "p1")])
    assert "link that leaves" in refused("check", written(folder, link))
    pq.write_table(pa.table({"path": ["a"], "label": [0.5]}), folder / "f.parquet")
    assert "text or whole numbers, but is double" in refused("check", f"parquet:{folder}/f.parquet")
    (folder / "g.parquet").write_text("no table")
    assert "cannot be read as a table" in refused("check", f"parquet:{folder}/g.parquet")
    assert "no such file" in refused("check", f"csv:{folder}/none.csv")
    none = [(row[0], "nan" if i < 2 else row[1], *row[2:]) for i, row in enumerate(ROWS)]
    notes = read(written(folder, table(none))).notes
    assert [note for note in notes if "'nan' is taken for the name of a class" in note] == [*notes]
    mixed = table([(*row[:1], str(i % 2 or "x"), *row[2:]) for i, row in enumerate(ROWS)])
    assert any("some labels are numbers" in note for note in read(written(folder, mixed)).notes)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_millions_of_rows_is_refused_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """No row of a file of more rows than images fit anywhere is looked at: memory would not hold
    them.
    """
    monkeypatch.setattr(T, "MOST_ROWS", 20_000)
    monkeypatch.setattr(T, "_texts", None)
    columns = {"path": [f"images/{i}.png" for i in range(100_000)], "label": ["ant"] * 100_000}
    pc.write_csv(pa.table(columns), folder / "t.csv")
    pq.write_table(pa.table(columns), folder / "t.parquet")
    assert "more than 20,000" in refused("check", f"{kind}:{folder / 't'}.{kind}")


def test_columns_that_are_not_used_are_not_read(folder: Path) -> None:
    """Tables of images often hold the images' bytes too, far more than memory does."""
    columns = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    pq.write_table(pa.table(columns | {"bytes": ["x" * 20_000_000] * 6}), folder / "t.parquet")
    most = pool.max_memory()
    assert read(f"parquet:{folder / 't.parquet'}").classes == ("ant", "bee")
    assert pool.max_memory() == most or pool.max_memory() < before + 20_000_000


PARQUET: dict[str, tuple[dict[str, pa.Array | list[object]], str]] = {
    "a list": ({"label": [["ant"]] * 6}, "must be text or whole numbers, but is list"),
    "a structure": ({"path": [{"bytes": b"x"}] * 6}, "must be text or whole numbers, but is str"),
    "yes or no": ({"label": [True] * 6}, "must be text or whole numbers, but is bool"),
    "numbers in a dictionary": (
        {"label": pa.array([0.5] * 6).dictionary_encode()},
        "must be text or whole numbers, but is double",
    ),
    "no label": ({"label": ["ant", None, *"bbbb"]}, "row 2: label is empty"),
    "no label in a dictionary": (
        {"label": pa.array(["ant", None, *"bbbb"]).dictionary_encode()},
        "row 2: label is empty",
    ),
    "no label at all": ({"label": pa.nulls(6)}, "row 1: label is empty"),
    "some without group": ({"group": ["a", None, *"bcde"]}, "row 2: has no group"),
    "missing file": ({"path": [*"abcdef"]}, "row 1: 'a': no such file (and 5 more)"),
    "leaves upward": ({"path": ["../a", *"bcdef"]}, "leaves the folder"),
    "NUL": ({"label": ["a\0t", *"bbbbb"]}, "row 1: label has a NUL"),
    "endless label": ({"label": ["x" * 10_000_000, *"bbbbb"]}, "row 1: label has more than"),
    "unknown split": ({"split": ["sometimes", *["train"] * 5]}, "row 1: the split must be"),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_what_a_parquet_table_cannot_say_is_one_line(folder: Path, kind: str) -> None:
    """Columns have types, and may have no value at all."""
    columns = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    other, said = PARQUET[kind]
    pq.write_table(pa.table(columns | other), folder / "t.parquet")
    assert said in refused("check", f"parquet:{folder / 't.parquet'}")


def test_every_way_in_which_parquet_stores_text_is_read(folder: Path) -> None:
    """Programs differ in it, and their users do not know."""
    columns = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    found = set()
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        texts = {name: pa.array(values, kind) for name, values in columns.items()}
        pq.write_table(pa.table(texts), folder / "t.parquet")
        found.add(read(f"parquet:{folder / 't.parquet'}").fingerprint)
    assert found == {read(written(folder, table())).fingerprint}


def random_groups(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) labels and (n,) groups of sizes 1 to 9, each of one class or of several."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 10, 60)
    groups = np.repeat(generator.permutation(60), sizes)
    own = generator.integers(0, 3, 60)
    mixed = generator.random(60) < 0.3
    labels = np.where(mixed[groups], generator.integers(0, 3, len(groups)), own[groups])
    order = generator.permutation(len(groups))
    return labels[order].astype(np.int64), groups[order].astype(np.int64)


def shares(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=3) / len(labels)


@pytest.mark.parametrize("seed", range(20))
def test_no_group_straddles_and_classes_stay_as_near_as_groups_allow(seed: int) -> None:
    """A patient whose images are learned from tells nothing of patients to come."""
    labels, groups = random_groups(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = validation_groups(labels, groups, scheme="k-fold", folds=5, seed=seed, copies=2)
    n = len(labels)
    assert (folds[:n] == folds[n:]).all()
    folds = folds[:n]
    for fold in range(5):
        inside = folds == fold
        assert not set(groups[inside]) & set(groups[~inside])
        assert np.abs(shares(labels[inside]) - shares(labels)).max() < 0.15
        assert 0.1 < inside.mean() < 0.3
    left = validation_groups(labels, groups, scheme="leave-one-out", folds=5, seed=0)
    assert (left == groups).all()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.7])
def test_a_held_out_part_is_of_whole_groups(fraction: float) -> None:
    """It judges what was learned from the others."""
    from trainables.data.dataset import Images, Split

    for seed in range(5):
        labels, groups = random_groups(seed)
        images = Images.from_arrays(np.zeros((len(labels), 2, 2), np.uint8))
        data = Dataset("x", ("a", "b", "c"), Split(images, labels, groups)).hold_out(fraction, seed)
        assert data.val is not None
        assert data.val.groups is not None
        assert data.train.groups is not None
        assert not set(data.val.groups) & set(data.train.groups)
        assert len(data.val) + len(data.train) == len(labels)
        assert abs(len(data.val) / len(labels) - fraction) < 0.12
        assert np.abs(shares(data.val.labels) - shares(data.train.labels)).max() < 0.25


@pytest.mark.parametrize("seed", range(40))
def test_few_images_in_few_groups_are_held_out_or_refused_in_a_line(seed: int) -> None:
    """Whatever share is asked for: of small classes scikit-learn makes no twenty parts, and says so
    in words that are no answer to whoever asked for a twentieth.
    """
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(12), draw.choice([1, 2, 3, 9], 12))
    labels = draw.integers(0, 2, len(groups))
    for fraction in (0.05, 0.1, 0.5, 0.9, 0.95):
        try:
            rows = held_out_rows("cannot", labels, groups, fraction, seed)
        except DatasetError:
            continue
        held = np.isin(np.arange(len(groups)), rows)
        assert not set(groups[held]) & set(groups[~held])
        assert set(labels[held]) == set(labels[~held]) == {0, 1}


def test_groups_that_cannot_be_split_are_one_line(folder: Path) -> None:
    """A class of one patient cannot be learned from and judged at once."""
    alone = [(f"images/{c}{i}.png", c, "", f"p{c}") for c in "ab" for i in range(6)]
    for c in "ab":
        for i in range(6):
            photograph(ord(c) * 10 + i, 24, 24).save(folder / f"images/{c}{i}.png")
    spec = written(folder, table(alone))
    with pytest.raises(DatasetError, match="whole groups with each class on both sides"):
        read_dataset(spec, ReadOptions(hold_out=0.3))
    words = ("--space", "tiny-image", "--trials", 1, "--dry-run", "--validation", "k-fold")
    assert "there are 2 groups only" in refused("run", "--dataset", spec, *words)


def test_leaving_out_the_only_group_of_a_part_is_refused_in_one_line(folder: Path) -> None:
    """Nothing would be left that can vote: each place has images of both classes, and a tenth of
    the images is one place.
    """
    rows = [(f"images/{c}{i}.png", c, "", f"place {i // 6}") for i in range(24) for c in "ab"]
    for number, (name, *_) in enumerate(rows):
        photograph(number, 24, 24).save(folder / name)
    words = ("--space", "tiny-image", "--trials", 1, "--dry-run", "--dataset")
    words = (*words, written(folder, table(rows)), "--validation", "leave-one-out")
    assert output("run", *words)["validation"] == "leave-one-out"
    said = refused("run", *words, "--fidelity", "images,0.1,1", "--pruner", "asha")
    assert "are of one group; make the part larger" in said


def test_a_table_is_searched_exported_and_checked(folder: Path, one_ray: OneRay) -> None:
    """Every command that takes a data set takes a table."""
    rows = []
    for i in range(24):
        label, split = "ant" if i % 2 else "bee", "test" if i >= 16 else "train"
        photograph(100 + i, 24, 24).save(folder / f"images/{i}.png")
        rows.append((f"images/{i}.png", label, split, f"{split}{i // 2 % 5}"))
    spec, runs = written(folder, table(rows)), folder / "runs"
    words = ("--space", "tiny-image", "--trials", 1, "--name", "t", "--no-tracking")
    done = one_ray.typed("run", "--dataset", spec, *words, "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    found = output("export", "t", "--runs-dir", runs, "--out", folder / "bundle")
    assert found["test_accuracy"] is not None
    assert output("evaluate", folder / "bundle", "--dataset", spec)["n"] == 8
    assert typed("check", spec).returncode == 0
