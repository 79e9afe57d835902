"""What a look at a data set found, as a page with pictures and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.report.examples import SIDE, jpeg
from analysis.report.templates import data_uri, rendered, write_page
from trainables.audit.entries import Entry
from trainables.audit.findings import Finding
from trainables.audit.look import Look
from trainables.data import ReadOptions, read_dataset
from trainables.images.image_file import read_images

SHOWN = 40
"""Groups of images that the page shows of one finding."""
MOST_OF_A_GROUP = 8
"""Pictures that it shows of one group."""


def facts(look: Look) -> dict[str, Any]:
    """All that was found, for JSON."""
    return {
        "spec": look.spec,
        "classes": len(look.classes),
        "images": look.sizes,
        "findings": [
            {
                "kind": finding.kind,
                "said": finding.said,
                "groups": [[_named(entry) for entry in group] for group in finding.groups],
                "classes": list(finding.classes),
            }
            for finding in look.findings
        ],
        "notes": list(look.notes),
        "unseen": list(look.unseen),
    }


def _named(entry: Entry) -> dict[str, str]:
    said = {"fault": entry.fault, "remark": entry.remark}
    return {"split": entry.split, "class": entry.label, "image": entry.name} | {
        name: text for name, text in said.items() if text
    }


def write_check_page(look: Look, out: Path, there: Mapping[Entry, bytes] | None = None) -> None:
    """Write the page, with small pictures of what was found inside it.

    Args:
        there: JPEG pictures that are there already; None to read them from the data set.
    """
    shown = [_shown(finding) for finding in look.findings]
    wanted = {entry for groups in shown for group in groups for entry in group if not entry.fault}
    pictures = {
        _key(entry): data_uri(content)
        for entry, content in (_pictures(look, wanted) if there is None else there).items()
    }
    page = rendered(
        "check.html.j2",
        look=look,
        found=list(zip(look.findings, shown, strict=True)),
        pictures=pictures,
        key=_key,
    )
    write_page(out, page)


def _shown(finding: Finding) -> list[tuple[Entry, ...]]:
    return [group[:MOST_OF_A_GROUP] for group in finding.groups[:SHOWN]]


def _key(entry: Entry) -> str:
    return f"{entry.split}/{entry.name}"


def _pictures(look: Look, wanted: Iterable[Entry]) -> Mapping[Entry, bytes]:
    entries = list(wanted)
    if look.listed is not None:
        paths = [look.listed.root / entry.name for entry in entries]
        images = read_images(paths, "rgb", SIDE)
    elif entries:
        splits = read_dataset(look.spec, ReadOptions(color="rgb", judged_only=True)).splits()
        images = [splits[entry.split].images[int(entry.name)] for entry in entries]
    else:
        images = []
    return {
        entry: jpeg(image)
        for entry, image in zip(entries, images, strict=True)
        if isinstance(image, np.ndarray)
    }
