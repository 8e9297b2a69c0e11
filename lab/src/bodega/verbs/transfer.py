"""The verbs of a notebook that move versions between stores."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bodega.display import frames
from bodega.display.row_wise import warning_of
from bodega.verbs.connection import current


def export(references: str | Iterable[str], target: str | Path, *, overwrite: bool = False) -> pd.DataFrame:
    """Write versions into one file that another store can import, and return them.

    'penguins@3' or 'penguins@stable' names one version, 'penguins' all versions that are not quarantined. Their
    bytes are verified first. Raises VersionQuarantinedError, ArtifactError, BundleError or VolumeError.
    """
    named = [references] if isinstance(references, str) else references
    return frames.versions_frame(current().store.export(named, Path(target), overwrite=overwrite))


def import_bundle(source: str | Path, *, name: str | None = None) -> pd.DataFrame:
    """Register the versions in a file that another store exported, and return them with their numbers here.

    Each passes the checks of a registration and becomes a candidate of its model, or of the model `name`. A version is
    imported once. Warns of versions whose predictions depend on the other rows of a request. Raises BundleError or
    RegistrationError.
    """
    versions = current().store.import_bundle(Path(source), name=name)
    for said in filter(None, map(warning_of, versions)):
        warnings.warn(said, stacklevel=2)
    return frames.versions_frame(versions)
