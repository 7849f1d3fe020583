"""Choose the data of a command: those that the artifact was fitted on.

The artifact contains its data, so no other file is needed. Without an artifact the data of the settings are used. If
settings and artifact name different data, commands raise an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.output import tell_findings, tell_note
from api.cli.stored import as_fitted, with_store
from api.settings.model import Settings
from retrieval import (
    AlsParameters,
    Artifact,
    Dataset,
    DataSettings,
    InputError,
    Manifest,
    Search,
    current_build,
    describe_data,
    describe_origin,
    known_parameters,
    load,
    readers,
    rebuild_dataset,
    with_relative_paths,
)


@dataclass(frozen=True)
class FittedData:
    """A data set and its retrieval parameters.

    Args:
        data_origin: where the data come from.
        parameters_origin: where the parameters come from.
        search: how the parameters were found; None if they were given, or are the defaults.
        artifact: the loaded artifact that both come from; None if there is none.
    """

    dataset: Dataset
    parameters: AlsParameters
    data_origin: str
    parameters_origin: str
    search: Search | None
    artifact: Artifact | None = None

    @property
    def origin(self) -> str:
        """Describe the origin of the data and the parameters."""
        return f"{self.data_origin}, retrieval with {self.parameters_origin}"


def fitted_data(settings: Settings, *, need_artifact: bool = False) -> FittedData:
    """Load the data of the configured artifact. If none is configured and none exists, read the data of the settings.

    Args:
        need_artifact: whether an artifact is required.

    Raises:
        InputError: If the settings name other data than the artifact was fitted on.
        ArtifactError: If the artifact is damaged, or missing although it is configured or required.
        DataError: If a file of the settings cannot be read.
    """
    named = need_artifact or "artifact" in settings.model_fields_set
    if not named and current_build(settings.artifact) is None:
        dataset, findings = readers.read(settings.data)
        tell_findings(findings)
        dataset, mark = with_store(dataset, settings)
        parameters, known = AlsParameters(), known_parameters(mark.files if mark else dataset.hash)
        return FittedData(
            dataset,
            parameters,
            data_origin=f"{describe_data(with_relative_paths(settings.data))} (no artifact in {settings.artifact})",
            parameters_origin=f"the default parameters: {_words(parameters)}",
            search=known and known[1],
        )
    artifact = load(settings.artifact)
    if not settings.data.embedded:
        _refuse_other_data(settings, artifact.manifest)
    manifest = artifact.manifest
    parameters = manifest.parameters
    return FittedData(
        rebuild_dataset(artifact),
        parameters,
        data_origin=f"{describe_origin(manifest)}, as fitted in {settings.artifact}",
        parameters_origin=f"its parameters: {_words(parameters)}",
        search=manifest.search,
        artifact=artifact,
    )


def other_data(settings: Settings, manifest: Manifest) -> str | None:
    """Return a note if the settings name other files than the artifact was fitted on, else None.

    Compares paths only, which is cheap enough for commands that do not read the files.
    """
    if settings.data.embedded or manifest.data is None:
        return None
    fitted, named = (_places(files) for files in (manifest.data, settings.data))
    if fitted == named:
        return None
    return (
        f"{settings.artifact} was fitted on {describe_origin(manifest)}, but the settings name "
        f"{describe_data(with_relative_paths(settings.data))}. The artifact is used until you run 'whyrank fit' again"
    )


def tell_other_data(settings: Settings, manifest: Manifest) -> None:
    """Print a note if the settings name other files than the artifact's."""
    if note := other_data(settings, manifest):
        tell_note(note)


def _refuse_other_data(settings: Settings, manifest: Manifest) -> None:
    place, files = settings.artifact, settings.data
    dataset, _ = readers.read(files)
    if manifest.store is not None:
        dataset = as_fitted(dataset, settings, manifest.store)
    if manifest.files_hash == dataset.hash:
        return
    changed = manifest.data is not None and _places(manifest.data) == _places(files)
    now = (
        "which have changed since then"
        if changed
        else f"but the settings name {describe_data(with_relative_paths(files))}"
    )
    raise InputError(
        f"{place} was fitted on {describe_origin(manifest)}, {now}",
        field="data",
        remedy="Run 'whyrank fit' again, or drop [data] from the settings to use the data in the artifact",
        code="wrong_data",
    )


def _places(files: DataSettings) -> Sequence[Path | None]:
    return [path and path.resolve() for path in (files.interactions, files.items, files.grouplens)]


def _words(parameters: AlsParameters) -> str:
    values = parameters.model_dump(exclude={"seed"}, exclude_none=True)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
