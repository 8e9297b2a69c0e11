"""The errors of the catalog and the volume.

A message says what happened and a hint what to do next. It never quotes the caller's data, only names of columns,
models and types. The HTTP status of each class stands in `bodega_api.http.problems`.
"""

from bodega_model.errors import BodegaError, RegistrationError

# --- what the caller asked for ---------------------------------------------------------------------------


class InvalidNameError(BodegaError):
    """An invalid model name."""

    hint = "Use 1 to 128 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit, as in 'penguins'."


class InvalidReferenceError(BodegaError):
    """A reference such as 'penguins@3' or a version such as 'latest' that cannot be read."""

    hint = "Write NAME@VERSION; VERSION is a number, 'latest', 'production', an alias or 'best:METRIC[:min]'."


class InvalidFilterError(BodegaError):
    """A filter that is not in the grammar; `position` is the first character, counted from 1, that does not fit."""

    hint = "docs/search.md explains filters, as in 'status=production and metrics.f1>=0.9'."

    def __init__(self, message: str, position: int = 1, hint: str | None = None) -> None:
        super().__init__(f"At character {position} of the filter: {message}", hint)
        self.fault, self.position = message, position


class InvalidSearchError(BodegaError):
    """An order, a choice of fields or a place to continue from that a search does not have."""

    hint = "docs/search.md explains searches."


class SearchTimeoutError(BodegaError):
    """The search took longer than the time that one may take."""

    hint = "Narrow it: name a model, or compare a status, a tag or a metric for fewer versions."


class InvalidMetadataError(BodegaError):
    """Metrics, params, tags or a note that the catalog cannot store."""


class ModelNotFoundError(BodegaError):
    """No model of that name is in the catalog."""

    hint = "List what there is with `bodega models` or GET /models."


class ModelAmbiguousError(BodegaError):
    """No model was named and the catalog does not have exactly one."""

    hint = "Name one with ?model=NAME; GET /models lists them."


class VersionNotFoundError(BodegaError):
    """The model has no such version."""

    hint = "List what there is with `bodega versions NAME` or GET /models?model=NAME."


class NoProductionError(BodegaError):
    """No version was named, and the model, which had a version in production, has none now."""

    hint = "Promote a version, or name one, as in 'penguins@latest' or ?version=latest."


class VersionQuarantinedError(BodegaError):
    """The version is in quarantine and is not served."""

    hint = "Choose another version, or release this one after a check."


class StatusMoveError(BodegaError):
    """A version cannot go from the status it has to the one that was asked for."""

    hint = "docs/life.md lists the allowed changes of status."


class VersionInUseError(BodegaError):
    """The version cannot be deleted while an alias names it."""

    hint = "Give the alias to another version, or remove it with `bodega remove-alias NAME ALIAS`."


class RetentionError(BodegaError):
    """The number of versions to keep is invalid."""


class NoFormerVersionError(BodegaError):
    """There is no earlier production version to roll back to."""

    hint = "Name the version to return to, as in rollback('penguins', to=3)."


class IncompatibleSignatureError(BodegaError):
    """Clients of the version in production could not call the one that shall take its place."""

    hint = "Update the callers first, then promote with force=True (--force) and a reason."


class AliasNotFoundError(BodegaError):
    """The model has no such alias."""

    hint = "List what there is with `bodega aliases NAME`."


class AliasProtectedError(BodegaError):
    """The alias is protected, and the role that the database was logged in to as may not move it."""

    hint = "Ask an administrator of the store; docs/roles.md says which role may."


class InvalidAliasError(BodegaError):
    """An invalid alias."""

    hint = (
        "Use 1 to 128 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit, not digits alone, and not "
        "'latest', 'production' or 'best'."
    )


class ReasonMissingError(BodegaError):
    """The change needs a reason."""

    hint = "Give a reason: it is kept in the history."


class IdempotencyConflictError(BodegaError):
    """The idempotency key already belongs to a registration of something else."""

    hint = "Use a new key for a new model; the same key only repeats the same registration."


# --- the bytes on the volume -----------------------------------------------------------------------------


class ArtifactError(BodegaError):
    """The bytes of a version cannot be trusted or read; nothing was deserialised."""

    hint = "Restore the file from a backup, or register the model again as a new version."


class ArtifactMissingError(ArtifactError):
    """The file of the artifact is not on the volume."""

    step = "file"


class ArtifactNotRegularError(ArtifactError):
    """Something else than a plain file (a link, a folder, a pipe) stands where the artifact should be."""

    step = "file"


class ArtifactSizeError(ArtifactError):
    """The file has another length than was registered."""

    step = "size"


class ArtifactDigestError(ArtifactError):
    """The bytes have another sha256 than was registered."""

    step = "sha256"


class VolumeError(BodegaError):
    """The volume cannot be used."""

    step = "volume"


class VolumeMismatchError(VolumeError):
    """The volume belongs to another catalog, or is empty although the catalog has versions."""

    hint = "Check which folder BODEGA_MODELS names and which database BODEGA_DATABASE_URL names."


class CatalogBehindError(VolumeMismatchError):
    """The volume has versions that the catalog does not know, as after an older backup of the catalog was restored."""

    hint = (
        "The catalog is older than its volume: perhaps a backup was restored. `bodega rebuild --apply` restores the "
        "versions, archived, and with them the numbers that were given out (docs/upkeep.md); then do this again."
    )


class ManifestError(VolumeError):
    """A manifest on the volume is damaged, or says what no registration wrote."""

    hint = "`bodega fsck --write-manifests` writes it again from the catalog."


class CollectionRefusedError(VolumeError):
    """So much of the volume would be removed that a mistake is more likely."""


class VolumeReadOnlyError(VolumeError):
    """The volume cannot be written."""

    hint = "Register where the volume is mounted read-write, and check the folder's owner."


# --- from bytes to a model -------------------------------------------------------------------------------


# --- what a registration refuses -------------------------------------------------------------------------


class BundleError(RegistrationError):
    """A file of exported versions cannot be written, or is damaged, or is none."""


# --- prediction ------------------------------------------------------------------------------------------


# --- the catalog -----------------------------------------------------------------------------------------


class CatalogUnavailableError(BodegaError):
    """Postgres does not answer."""

    hint = "Check that the database runs and that BODEGA_DATABASE_URL names it; then try again."


class CatalogLockedError(BodegaError):
    """Another session holds what a change needs, and has not let go of it in time; the message says who."""


class CatalogNotMigratedError(BodegaError):
    """The database has another schema than this program."""

    hint = "Run `bodega migrate`."


class ProgramOlderError(CatalogNotMigratedError):
    """A newer program has migrated the database; this one must not write to it."""

    hint = "Upgrade the program, or take the database back with the newer one."


class DowngradeError(BodegaError):
    """A downgrade of the database would lose what cannot be brought back, and nobody has said that it may."""

    hint = "Take a backup first (docs/upkeep.md); then ask again with lose=True (--lose)."


class NotPermittedError(BodegaError):
    """The role that the database was logged in to as may not do what was asked."""

    hint = "docs/roles.md says what each role may do."


class RolesError(BodegaError):
    """The roles of the database cannot be brought to the rights they shall have."""

    hint = "docs/roles.md says what is needed, and how to make the roles by hand."


class SettingsError(BodegaError):
    """A setting is missing or cannot be read."""


class EmbeddedPostgresError(BodegaError):
    """The private Postgres could not be started."""


class PostgresClaimedError(EmbeddedPostgresError):
    """Another process runs, starts or ends the Postgres of this folder."""
