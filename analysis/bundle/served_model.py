"""A bundle as an MLflow model: image files in, class and scores out.

MLflow runs this file when the model is loaded ("models from code"), so no pickle is kept. A row in
is an image file's bytes (base64 in JSON) in the column ``image``; a row out is ``class``, and
``scores``, which sum to 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from analysis.bundle.bundle import read_bundle
from spaces import plugins
from trainables.data import Images
from trainables.images.image_file import read_image


class BundleModel(mlflow.pyfunc.PythonModel):
    """Reads the artifact ``bundle`` and classifies with it."""

    def load_context(self, context: Any) -> None:
        # what whoever registered the model had loaded, and sent with it as code
        plugins.load_modules((context.model_config or {}).get("plugins", ()))
        self.model = read_bundle(Path(context.artifacts["bundle"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """A row {class, scores} an image.

        Raises:
            DatasetError: naming the first image, counted from 0, that is none.
        """
        seen = self.model.facts.preprocessing
        with tempfile.TemporaryDirectory(prefix="visiontune-") as folder:
            paths = [Path(folder) / f"image-{number}" for number in range(len(model_input))]
            for path, content in zip(paths, model_input["image"], strict=True):
                path.write_bytes(content)
            images = Images.from_arrays(
                [read_image(path, seen.color, seen.max_side, seen.rule) for path in paths]
            )
        classes, shares = self.model.scores_of(images)
        names = self.model.facts.classes
        return [
            {
                "class": names[int(label)],
                "scores": dict(zip(names, (float(share) for share in row), strict=True)),
            }
            for label, row in zip(classes, shares, strict=True)
        ]


if __name__ != "analysis.bundle.served_model":  # MLflow runs the file under another name
    mlflow.models.set_model(BundleModel())
