"""Item-based nearest neighbours: a sparse model for catalogs that are too large for the linear one."""

import warnings
from typing import ClassVar

import numpy as np
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from retrieval.models.als import Matrix
from retrieval.models.contract import top_entries
from retrieval.models.item_weights import ItemWeights

PARAMETERS = {"neighbours": 200.0}


class ItemKnn(ItemWeights):
    """Cosine of the items' confidences (Sarwar et al. 2001), as in ``implicit``.

    Every item listens to its own ``neighbours`` most similar ones: kept per item that is scored, not per item of the
    history, which ranks better, since popular items would otherwise be everybody's neighbours.
    """

    name: ClassVar[str] = "itemknn"

    @classmethod
    def fit(cls, user_items: Matrix, parameters: dict[str, float] | None = None) -> "ItemKnn":
        """Compares all pairs of items that share a user."""
        chosen = {**PARAMETERS, **(parameters or {})}
        # An item is its own nearest neighbour, and is taken off afterwards.
        model = CosineRecommender(K=int(chosen["neighbours"]) + 1)
        with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # implicit's neighbourhood models warn about a conversion of their own
            model.fit(user_items, show_progress=False)
        similar = csr_matrix(model.similarity, dtype=np.float32)
        similar.setdiag(0.0)
        kept = csr_matrix(top_entries(similar, int(chosen["neighbours"])).T)
        kept.sort_indices()
        return cls(kept, chosen)
