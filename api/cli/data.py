"""Which data a command works on: what the artifact was fitted on, or nothing else.

The artifact holds its data, so that no file is needed. The settings count where there is no artifact yet, and a command
that would have to choose between the two refuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.output import tell_findings, tell_note
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
    """A data set and the parameters that retrieval has on it.

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
        """Where both come from, in one sentence."""
        return f"{self.data_origin}, retrieval with {self.parameters_origin}"


def fitted_data(settings: Settings, *, need_artifact: bool = False) -> FittedData:
    """The data of the artifact that the settings name. Where none was named and none is there, those of the settings.

    Args:
        need_artifact: whether there must be an artifact.

    Raises:
        InputError: the settings name other data than those that the artifact was fitted on.
        ArtifactError: there is no artifact although one is named or needed, or it is damaged.
        DataError: a file that the settings name cannot be read.
    """
    named = need_artifact or "artifact" in settings.model_fields_set
    if not named and current_build(settings.artifact) is None:
        dataset, findings = readers.read(settings.data)
        tell_findings(findings)
        parameters, known = AlsParameters(), known_parameters(dataset)
        return FittedData(
            dataset,
            parameters,
            data_origin=f"{describe_data(with_relative_paths(settings.data))} (no artifact in {settings.artifact})",
            parameters_origin=f"the default parameters: {_words(parameters)}",
            search=known and known[1],
        )
    artifact = load(settings.artifact)
    if not settings.data.embedded:
        _refuse_other_data(settings.artifact, artifact.manifest, settings.data)
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
    """Says that the settings name other files than those that the artifact was fitted on; None where they do not.

    By name alone: cheap enough for every start of a command that does not read the files.
    """
    if settings.data.embedded or manifest.data is None:
        return None
    fitted, named = (_places(files) for files in (manifest.data, settings.data))
    if fitted == named:
        return None
    return (
        f"{settings.artifact} was fitted on {describe_origin(manifest)}, and the settings name "
        f"{describe_data(with_relative_paths(settings.data))}: the former is used until 'whyrank fit' runs again"
    )


def tell_other_data(settings: Settings, manifest: Manifest) -> None:
    """Prints a note where the settings name other files than the artifact's."""
    if note := other_data(settings, manifest):
        tell_note(note)


def _refuse_other_data(place: Path, manifest: Manifest, files: DataSettings) -> None:
    dataset, _ = readers.read(files)
    if dataset.hash == manifest.data_hash:
        return
    changed = manifest.data is not None and _places(manifest.data) == _places(files)
    now = (
        "which hold other data by now"
        if changed
        else f"and the settings name {describe_data(with_relative_paths(files))}"
    )
    raise InputError(
        f"{place} was fitted on {describe_origin(manifest)}, {now}",
        field="data",
        remedy="Run 'whyrank fit' again, or drop [data] from the settings to work on what the artifact holds",
        code="wrong_data",
    )


def _places(files: DataSettings) -> Sequence[Path | None]:
    return [path and path.resolve() for path in (files.interactions, files.items, files.grouplens)]


def _words(parameters: AlsParameters) -> str:
    told = parameters.model_dump(exclude={"seed"}, exclude_none=True)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
