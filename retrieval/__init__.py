"""Who might like what? Interactions in, candidates out."""

from retrieval.artifact import Artifact, Manifest, current_data, current_manifest, fit, load, save
from retrieval.builds import current_build
from retrieval.catalog import Catalog, Filter
from retrieval.combination import deviation
from retrieval.data import checks, readers, splits
from retrieval.data.checks import Finding
from retrieval.data.dataset import Dataset, Encoded, encode, make_dataset
from retrieval.data.events import RATING, RATING_BEST, Meaning, meaning
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Candidate, Columns, Evidence, HistoryEntry, Interaction, Item, Source
from retrieval.data.splits import Split
from retrieval.disk import read_small, sync
from retrieval.diversity import Diversify, diversified
from retrieval.errors import ArtifactError, DataError, InputError, NotFoundError, WhyrankError
from retrieval.logit import Example, Penalty, cross_validated
from retrieval.models.als import AlsModel, AlsParameters
from retrieval.models.item_knn import ItemKnn
from retrieval.models.popularity import popularity
from retrieval.provenance import described, origin, portable, restored
from retrieval.retriever import Notice, RetrievalRequest, Retrieved, Retriever
from retrieval.search import HELD_BACK, Search, SearchBudget, choose_parameters, known_parameters, search_parameters

__all__ = [
    "HELD_BACK",
    "RATING",
    "RATING_BEST",
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
    "Example",
    "Filter",
    "Finding",
    "HistoryEntry",
    "InputError",
    "Interaction",
    "Item",
    "ItemKnn",
    "Manifest",
    "Meaning",
    "NotFoundError",
    "Notice",
    "Penalty",
    "RetrievalRequest",
    "Retrieved",
    "Retriever",
    "Search",
    "SearchBudget",
    "Source",
    "Split",
    "WhyrankError",
    "checks",
    "choose_parameters",
    "cross_validated",
    "current_build",
    "current_data",
    "current_manifest",
    "described",
    "deviation",
    "diversified",
    "encode",
    "fit",
    "known_parameters",
    "load",
    "make_dataset",
    "meaning",
    "origin",
    "popularity",
    "portable",
    "read_small",
    "readers",
    "restored",
    "save",
    "search_parameters",
    "splits",
    "sync",
]
