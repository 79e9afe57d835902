"""data.json of a run: what is known of its images without reading them."""

from __future__ import annotations

from pathlib import Path

from analysis.run.identity import read_identity
from analysis.run.records import DataFacts
from analysis.run.sealed import DamagedError, RunError, unsealed
from analysis.run.trial_files import read_bytes
from spaces.errors import UserError, on_one_line
from trainables.io.files import sha256


def read_data(run: Path) -> DataFacts:
    """What was known of the dataset when the run began.

    Raises:
        RunError: if data.json is missing, or not as it was written.
    """
    path = run / "data.json"
    again = "visiontune resume writes it again from the images, if they are as they were"
    try:
        content, known = read_bytes(path), read_identity(run)
        facts = DataFacts.model_validate(unsealed(content, path))
        wanted = known.sha256s.get(path.name) if known else None
        if wanted not in (None, sha256(path)):
            raise DamagedError(f"{path}: not what was written (its SHA-256 is another)")
    except FileNotFoundError:
        raise RunError(f"{path}: missing; {again}") from None
    except DamagedError as error:
        raise RunError(f"{error}; {again}") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise RunError(f"{path}: not what was written ({on_one_line(error)}); {again}") from None
    return facts
