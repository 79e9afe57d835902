"""The commands that use a bundle: on a dataset whose classes are known, and on images whose are
not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.options import DropLeaked, Json
from spaces.errors import shown

SHOWN = 10
"""Classes whose scores are printed of an image, the likeliest first; JSON has all."""
MOST_EXPLAINED = 100
"""Images of one page that explains their classes: all its pictures stand in it."""
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by visiontune export.")]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a row an image there: FILE.csv or FILE.json."),
]


def evaluate(
    bundle: Bundle,
    dataset: Annotated[str, typer.Option(help="SPEC of the images; see visiontune datasets.")],
    out: Out = None,
    skip_unreadable: SkipUnreadable = False,
    drop_leaked: DropLeaked = False,
    json_: Json = False,
) -> None:
    """Score a bundle on the test split of a dataset; with --out, the class that each image was
    given.
    """
    from analysis.bundle.bundle import read_bundle
    from analysis.bundle.predict import evaluate as score
    from search.screen.console import progress_bar

    _check(out)
    with progress_bar() as say:
        found = score(bundle, dataset, skip_unreadable, say, drop_leaked)
    measured, classes = found.measured, read_bundle(bundle).facts.classes
    for line in found.notes:
        print(line, file=sys.stderr)
    if out:
        given = zip(
            found.labels.tolist(), found.predictions.tolist(), found.scores.tolist(), strict=True
        )
        rows = [
            {
                "image": i,
                "true": classes[true],
                "class": classes[taken],
                "scores": dict(zip(classes, scores, strict=True)),
            }
            for i, (true, taken, scores) in enumerate(given)
        ]
        _write(out, ("image", "true", "class"), classes, rows)
    if json_:
        scores = measured.model_dump(exclude={"scheme"}) | {"notes": found.notes}
        if found.whole:
            scores["all"] = found.whole.model_dump(exclude={"scheme"})
        print(
            json.dumps(
                {**scores, "classes": classes, "confusion": found.confusion.tolist()},
                ensure_ascii=False,
            )
        )
        return
    print(
        f"{found.split}: accuracy {measured.accuracy:.4f}, balanced "
        f"{measured.balanced_accuracy:.4f}, "
        f"macro F1 {measured.macro_f1:.4f}, n = {measured.n:,}"
    )
    if found.whole:
        print(
            f"with the images that are also in train: accuracy {found.whole.accuracy:.4f}, "
            f"n = {found.whole.n:,}"
        )


def predict(
    bundle: Bundle,
    image: Images,
    out: Out = None,
    skip_unreadable: SkipUnreadable = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.5,
            max=0.999,
            help="Give a set of classes an image, which holds the true one so often (0.95, say).",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """The class of each image, with a score for every class."""
    from analysis.bundle.bundle import read_facts
    from analysis.bundle.predict import calibration_of
    from analysis.bundle.predict import predict as classify
    from search.screen.console import progress_bar

    _check(out)
    with progress_bar() as say:
        rows, skipped = classify(bundle, image, skip_unreadable, say, coverage)
    if coverage:
        known = calibration_of(read_facts(bundle))
        print(
            f"sets held the class of {known.seen(coverage):.1%} of {len(known.truth):,} validation "
            f"images, for {coverage:.1%} that were asked",
            file=sys.stderr,
        )
    for reason in skipped:
        print(f"left out: {reason}", file=sys.stderr)
    if out:
        _write(out, ("path", "class"), list(rows[0]["scores"]) if rows else [], rows)
        print(
            json.dumps({"file": str(out), "images": len(rows), "skipped": len(skipped)})
            if json_
            else f"{out}: {len(rows):,} images"
        )
        return
    if json_:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        scores = sorted(row["scores"].items(), key=lambda item: -item[1])
        more = f", and {len(scores) - SHOWN:,} more" if len(scores) > SHOWN else ""
        likely = ", ".join(f"{shown(name)} {score:.3f}" for name, score in scores[:SHOWN])
        if coverage:
            told = ", ".join(map(shown, row["set"])) or "none of these"
            print(f"{shown(row['path'])}: {{{told}}}")
            continue
        print(f"{shown(row['path'])}: {shown(row['class'])}  ({likely}{more})")


def explain(
    bundle: Bundle,
    image: Images,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page to write.")] = Path(
        "why.html"
    ),
    skip_unreadable: SkipUnreadable = False,
    json_: Json = False,
) -> None:
    """Write a page of why each image is given its class: the places that speak for it, and the
    training images that are nearest.
    """
    from analysis.bundle.bundle import read_bundle
    from analysis.bundle.predict import read_pictures
    from analysis.report.why_page import asked_of, explained, without_pictures, write_why_page
    from trainables.data.names import on_disk

    model = read_bundle(bundle)
    read, skipped = read_pictures(model, image, skip_unreadable, MOST_EXPLAINED)
    for reason in skipped:
        print(f"left out: {reason}", file=sys.stderr)
    rows = explained(model, asked_of(model, [(on_disk(path), pixels) for path, pixels in read]))
    write_why_page(out, model.facts, rows, f"Why {shown(bundle)} says so")
    print(
        json.dumps({"file": str(out), "images": without_pictures(rows)}, ensure_ascii=False)
        if json_
        else f"{out}: {len(rows):,} images"
    )


def _check(out: Path | None) -> None:
    """Refuse a file of another kind before the work."""
    if out is not None and out.suffix.lower() not in (".csv", ".json"):
        raise typer.BadParameter(f"--out must end with .csv or .json, but got {out.name!r}")


def _write(
    out: Path, columns: Sequence[str], classes: Sequence[str], rows: Sequence[dict[str, Any]]
) -> None:
    """A row an image; in CSV the score of each class is a column ``score NAME``."""
    from analysis.run.csv_text import csv_text
    from trainables.io.files import write_whole

    if out.suffix.lower() == ".json":
        write_whole(out, json.dumps(rows, indent=1, ensure_ascii=False))
        return
    header = [*columns, *(f"score {name}" for name in classes)]
    write_whole(
        out,
        csv_text(header, ([*(row[c] for c in columns), *row["scores"].values()] for row in rows)),
    )


COMMANDS = (evaluate, predict, explain)
