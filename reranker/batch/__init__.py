"""Recommendations for many users at once: partitions of requests in, rows out, shards in a folder."""

from reranker.batch.executors import LocalPool, Pool
from reranker.batch.folder import BatchError, BatchFolder, BatchManifest, ShardFile
from reranker.batch.loading import BATCH_TABLE, check_target, load_batch
from reranker.batch.rows import ROW_SCHEMA, BatchEntry, EntryError, RowCounts
from reranker.batch.runner import BatchOutcome, Estimate, estimate_batch, run_batch
from reranker.batch.scope import Scope, changed_users, pin_prompts, requests_scope, users_scope
from reranker.batch.worker import BatchJob, PartitionWorker

__all__ = [
    "BATCH_TABLE",
    "ROW_SCHEMA",
    "BatchEntry",
    "BatchError",
    "BatchFolder",
    "BatchJob",
    "BatchManifest",
    "BatchOutcome",
    "EntryError",
    "Estimate",
    "LocalPool",
    "PartitionWorker",
    "Pool",
    "RowCounts",
    "Scope",
    "ShardFile",
    "changed_users",
    "check_target",
    "estimate_batch",
    "load_batch",
    "pin_prompts",
    "requests_scope",
    "run_batch",
    "users_scope",
]
