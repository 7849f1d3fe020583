"""The manifest of a build: what it was fitted from, with which parameters, and the hash of each file."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrieval.builds import MANIFEST, REMEDY, current_build
from retrieval.combination import Combination
from retrieval.data.readers import DataSettings
from retrieval.disk import read_small_file
from retrieval.errors import ArtifactError
from retrieval.models.als import AlsParameters
from retrieval.search import Search
from retrieval.store.records import StoreMark

FORMAT = 4
"""Version of an artifact's files."""
_LONGEST_MANIFEST = 64 << 20


class Manifest(BaseModel):
    """Description of a build. ``data`` are the settings that the data were read with; None in an older artifact, or if
    the data came from no file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    created: datetime
    versions: dict[str, str]
    parameters: AlsParameters
    dataset: str
    noun: str
    data: DataSettings | None = None
    data_hash: str
    users: int = Field(ge=1)
    items: int = Field(ge=1)
    interactions: int = Field(ge=0)
    event_names: tuple[str, ...]
    models: dict[str, dict[str, float]]
    """Parameters of each model, by the name of its signal."""
    left_out: dict[str, str]
    """Why a model was left out or replaced, by its name."""
    combination: Combination
    embedder: str | None = None
    """Fingerprint of the model that the items' embeddings are of; None without embeddings."""
    search: Search | None = None
    store: StoreMark | None = None
    """How far the data reach into a store of events; None if they hold nothing of one."""
    checksums: dict[str, str]

    @property
    def files_hash(self) -> str:
        """Hash of the data of the files alone."""
        return self.data_hash if self.store is None else self.store.files

    @property
    def name(self) -> str:
        """Name of the build: a hash of everything that is served. The time, the files and the search do not count."""
        content = self.model_dump_json(exclude={"created", "data", "search"})
        return f"build-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a build.

    Raises:
        ArtifactError: it is missing or damaged, or it has another format version.
    """
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder.parent} has no build '{folder.name}', which CURRENT names",
            field="artifact",
            remedy=REMEDY,
            code="artifact_torn",
        )
    try:
        content = json.loads(read_small_file(folder / MANIFEST, _LONGEST_MANIFEST))
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"{folder} has format {content.get('format')!r:.40}, this version reads format {FORMAT}",
                field="artifact",
                remedy=REMEDY,
                code="artifact_format",
            )
        return Manifest.model_validate(content)
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise ArtifactError(
            f"the manifest in {folder} cannot be read ({error!s:.1000})",
            field="artifact",
            remedy=REMEDY,
            code="artifact_torn",
        ) from error


def current_data(directory: Path) -> str | None:
    """Return the hash of the data of the current build; None if there is no readable build."""
    manifest = current_manifest(directory)
    return None if manifest is None else manifest.data_hash


def current_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of the current build; None if there is no readable build."""
    try:
        name = current_build(directory)
        return None if name is None else read_manifest(directory / name)
    except ArtifactError:
        return None
