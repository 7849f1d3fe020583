"""Compare two prompts from Python, as in a notebook: one row per user and ranker, as a Polars table.

Run ``whyrank llm`` in another terminal first, then ``python examples/compare_prompts.py``.
"""

import asyncio
import sys
from pathlib import Path

import polars as pl

from eval import AbSetup, AnswerStore, ExperimentConfig, Reads, build_ab_report, per_user_table, run_ab
from prompts import PromptLibrary
from reranker import EngineSettings
from retrieval import readers

# %% What to compare
SETUP = AbSetup(baseline="rank@1", candidate="rank@2")
CONFIG = ExperimentConfig(users=50)
RUNS = Path("runs")


# %% Run it; answers are kept in runs/, so that a second run asks the model nothing
async def compare(url: str) -> pl.DataFrame:
    """Compare, print the verdict, and return the table."""
    library, store = PromptLibrary(), AnswerStore(RUNS / "answers.sqlite")
    async with Reads(EngineSettings(url=url), store) as reads:
        done = await run_ab(SETUP, CONFIG, readers.movielens(), library, reads, RUNS)
    store.close()
    sys.stdout.write(build_ab_report(done, library, opened=0).verdict.sentence + "\n")
    return per_user_table(done.run)


# %% Look at it
if __name__ == "__main__":
    table = asyncio.run(compare(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8711"))
    means = table.group_by("arm").agg(pl.col("ndcg@10").mean(), pl.len().alias("users")).sort("ndcg@10")
    sys.stdout.write(f"{means}\n")
