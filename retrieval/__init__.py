"""Who might like what? Interactions in, candidates out."""

from retrieval import sources
from retrieval.als import AlsModel, AlsParameters
from retrieval.artifact import Artifact, Manifest, current_build, load, save
from retrieval.dataset import Dataset, encode, make_dataset
from retrieval.errors import ArtifactError, DataError, InputError, NotFoundError, WhyrankError
from retrieval.events import Meaning, confidence, meaning
from retrieval.retriever import Notice, RetrievalRequest, Retrieved, Retriever
from retrieval.schema import Candidate, Columns, Evidence, HistoryEntry, Interaction, Item, Source

__all__ = [
    "AlsModel",
    "AlsParameters",
    "Artifact",
    "ArtifactError",
    "Candidate",
    "Columns",
    "DataError",
    "Dataset",
    "Evidence",
    "HistoryEntry",
    "InputError",
    "Interaction",
    "Item",
    "Manifest",
    "Meaning",
    "NotFoundError",
    "Notice",
    "RetrievalRequest",
    "Retrieved",
    "Retriever",
    "Source",
    "WhyrankError",
    "confidence",
    "current_build",
    "encode",
    "load",
    "make_dataset",
    "meaning",
    "save",
    "sources",
]
