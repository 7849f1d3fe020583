"""Who might like what? Interactions in, candidates out."""

from retrieval import check, sources, splits
from retrieval.als import AlsModel, AlsParameters
from retrieval.artifact import Artifact, Manifest, Search, current_data, current_manifest, fit, load, save
from retrieval.builds import current_build
from retrieval.catalog import Catalog, Filter
from retrieval.dataset import Dataset, Encoded, encode, make_dataset
from retrieval.diversity import Diversify, diversified
from retrieval.errors import ArtifactError, DataError, InputError, NotFoundError, WhyrankError
from retrieval.events import Meaning, meaning
from retrieval.provenance import described, origin, portable, restored
from retrieval.retriever import Notice, RetrievalRequest, Retrieved, Retriever
from retrieval.schema import Candidate, Columns, Evidence, HistoryEntry, Interaction, Item, Source
from retrieval.search import search_parameters
from retrieval.sources import DataSettings
from retrieval.splits import Split

__all__ = [
    "AlsModel",
    "AlsParameters",
    "Artifact",
    "ArtifactError",
    "Candidate",
    "Catalog",
    "Columns",
    "DataError",
    "DataSettings",
    "Dataset",
    "Diversify",
    "Encoded",
    "Evidence",
    "Filter",
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
    "Search",
    "Source",
    "Split",
    "WhyrankError",
    "check",
    "current_build",
    "current_data",
    "current_manifest",
    "described",
    "diversified",
    "encode",
    "fit",
    "load",
    "make_dataset",
    "meaning",
    "origin",
    "portable",
    "restored",
    "save",
    "search_parameters",
    "sources",
    "splits",
]
