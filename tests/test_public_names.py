"""Each folder has one public entry; a change of it is a decision, not an accident."""

import importlib

import pytest

PUBLIC = {
    "retrieval": "AlsModel AlsParameters Artifact ArtifactError Candidate Catalog Columns DataError DataSettings "
    "Dataset Encoded Evidence Filter HistoryEntry InputError Interaction Item Manifest Meaning "
    "NotFoundError Notice RetrievalRequest Retrieved Retriever Search Source Split WhyrankError check "
    "current_build encode fit load make_dataset meaning save search_parameters sources splits",
    "prompts": "BudgetError HistoryInput ItemInput Message Prompt PromptLibrary PromptTemplate Sampling Sanitizer "
    "TemplateError evidence_inputs history_inputs item_input newest",
    "reranker": "Answer Engine EngineSettings LLMBadAnswer LLMBusy LLMError LLMStartError LLMTimeout "
    "LLMUnavailable LikelihoodRead LikelihoodScorer LlmSettings LocalServer RecommendationRequest Recommender "
    "embedded engine_settings find find_or_start local",
    "api": "Settings create_app load_settings",
}


@pytest.mark.parametrize("folder", PUBLIC)
def test_public_names(folder: str) -> None:
    module = importlib.import_module(folder)
    assert sorted(module.__all__) == sorted(PUBLIC[folder].split())
    for name in module.__all__:
        assert hasattr(module, name)
