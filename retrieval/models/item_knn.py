"""Item-based nearest neighbours: a sparse model for catalogs that are too large for the linear one."""

import warnings
from typing import ClassVar

import numpy as np
from implicit.nearest_neighbours import BM25Recommender
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from retrieval.als import Matrix
from retrieval.models.contract import top_entries
from retrieval.models.item_weights import ItemWeights

PARAMETERS = {"neighbours": 100.0, "k1": 1.2, "b": 0.75}


class ItemKnn(ItemWeights):
    """Similarity of items under BM25 weights, as in ``implicit``; keeps the ``neighbours`` most similar of each."""

    name: ClassVar[str] = "itemknn"

    @classmethod
    def fit(cls, user_items: Matrix, parameters: dict[str, float] | None = None) -> "ItemKnn":
        """Compares all pairs of items that share a user."""
        chosen = {**PARAMETERS, **(parameters or {})}
        model = BM25Recommender(K=int(chosen["neighbours"]), K1=chosen["k1"], B=chosen["b"])
        with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # implicit's neighbourhood models warn about a conversion of their own
            model.fit(user_items, show_progress=False)
        similar = csr_matrix(model.similarity, dtype=np.float32)
        similar.setdiag(0.0)
        return cls(top_entries(similar, int(chosen["neighbours"])), chosen)
