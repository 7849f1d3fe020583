"""Read interactions, fit models and retrieve candidates with evidence."""

from retrieval.artifact import Artifact, load
from retrieval.artifact_writer import fit
from retrieval.builds import current_build, remove_other_builds
from retrieval.catalog import Catalog, Filter
from retrieval.combination import deviation
from retrieval.data import checks, readers, splits
from retrieval.data.checks import Finding
from retrieval.data.dataset import Dataset, EncodedDataset, encode_dataset, make_dataset
from retrieval.data.events import RATING, RATING_BEST, Meaning, counts_as, meaning
from retrieval.data.readers import DataSettings
from retrieval.data.schema import Candidate, Columns, Evidence, HistoryEntry, Interaction, Item, Source
from retrieval.data.splits import Split
from retrieval.disk import flush_to_disk, read_small_file
from retrieval.diversity import Diversify, diversified_order
from retrieval.embeddings import Embedder, EmbeddingSettings, open_embedder
from retrieval.errors import (
    ArtifactError,
    DataError,
    EmbeddingError,
    InputError,
    NotFoundError,
    StoreError,
    WhyrankError,
)
from retrieval.extension import extend_artifact
from retrieval.logit import Example, Penalty, cross_validated
from retrieval.manifest import Manifest, current_data, current_manifest
from retrieval.models.als import AlsModel, AlsParameters
from retrieval.models.content import item_features, predict_values
from retrieval.models.item_knn import ItemKnn
from retrieval.models.popularity import popularity
from retrieval.provenance import describe_data, describe_origin, rebuild_dataset, with_relative_paths
from retrieval.request import Notice, RetrievalRequest, Retrieved, new_item_places
from retrieval.retriever import Retriever
from retrieval.search import HELD_BACK, Search, SearchBudget, choose_parameters, known_parameters, search_parameters
from retrieval.store.events import EVENTS
from retrieval.store.keys import ApiKey, split_key
from retrieval.store.records import (
    IMPRESSION,
    ForgetReceipt,
    LoggedRecommendation,
    StoredItem,
    StoreMark,
    UserEvent,
    UserState,
    Verdict,
    checked_id,
)
from retrieval.store.settings import StoreSettings
from retrieval.store.store import Store
from retrieval.store.training import add_stored
from retrieval.wish import Wish, WishCondition, WishMethod

__all__ = [
    "EVENTS",
    "HELD_BACK",
    "IMPRESSION",
    "RATING",
    "RATING_BEST",
    "AlsModel",
    "AlsParameters",
    "ApiKey",
    "Artifact",
    "ArtifactError",
    "Candidate",
    "Catalog",
    "Columns",
    "DataError",
    "DataSettings",
    "Dataset",
    "Diversify",
    "Embedder",
    "EmbeddingError",
    "EmbeddingSettings",
    "EncodedDataset",
    "Evidence",
    "Example",
    "Filter",
    "Finding",
    "ForgetReceipt",
    "HistoryEntry",
    "InputError",
    "Interaction",
    "Item",
    "ItemKnn",
    "LoggedRecommendation",
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
    "Store",
    "StoreError",
    "StoreMark",
    "StoreSettings",
    "StoredItem",
    "UserEvent",
    "UserState",
    "Verdict",
    "WhyrankError",
    "Wish",
    "WishCondition",
    "WishMethod",
    "add_stored",
    "checked_id",
    "checks",
    "choose_parameters",
    "counts_as",
    "cross_validated",
    "current_build",
    "current_data",
    "current_manifest",
    "describe_data",
    "describe_origin",
    "deviation",
    "diversified_order",
    "encode_dataset",
    "extend_artifact",
    "fit",
    "flush_to_disk",
    "item_features",
    "known_parameters",
    "load",
    "make_dataset",
    "meaning",
    "new_item_places",
    "open_embedder",
    "popularity",
    "predict_values",
    "read_small_file",
    "readers",
    "rebuild_dataset",
    "remove_other_builds",
    "search_parameters",
    "split_key",
    "splits",
    "with_relative_paths",
]
