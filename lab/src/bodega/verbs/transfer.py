"""The verbs of a notebook that move versions between stores."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bodega.display import frames
from bodega.verbs.connection import current


def export(references: str | Iterable[str], target: str | Path, *, overwrite: bool = False) -> pd.DataFrame:
    """Write versions into one file that another store can import, and return them.

    'penguins@3' or 'penguins@stable' names one version, 'penguins' all of a model that are not in quarantine. Their
    bytes are verified first. Raises VersionQuarantinedError, ArtifactError, BundleError or VolumeError.
    """
    named = [references] if isinstance(references, str) else references
    return frames.versions_frame(current().store.export(named, Path(target), overwrite=overwrite))


def import_bundle(source: str | Path, *, name: str | None = None) -> pd.DataFrame:
    """Register the versions in a file that another store exported, and return them with their numbers here.

    Each passes what every registration passes, and becomes a candidate of the model of its name, or of `name`. What was
    imported before is not imported again. Raises BundleError, or RegistrationError and its kin with the reason.
    """
    return frames.versions_frame(current().store.import_bundle(Path(source), name=name))
