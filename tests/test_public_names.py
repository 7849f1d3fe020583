"""Each folder has one public entry; a change of it is a decision, not an accident."""

import importlib

import pytest

PUBLIC = {
    "retrieval": "AlsModel AlsParameters Artifact ArtifactError Candidate Catalog Columns DataError DataSettings "
    "Dataset Encoded Evidence Filter HistoryEntry InputError Interaction Item Manifest Meaning "
    "NotFoundError Notice RetrievalRequest Retrieved Retriever Search Source Split WhyrankError check "
    "current_build current_data encode fit load make_dataset meaning save search_parameters sources splits",
    "prompts": "BudgetError CandidateInput EXAMPLE Fitted Fitting FrontMatter HistoryInput ItemInput KNOWN "
    "LibraryError Message Prompt PromptEditor PromptLibrary PromptTemplate Rendered Sample Sampling "
    "Sanitizer TemplateError Trimmed candidate_inputs check document_inputs evidence_inputs fit "
    "fitting history_inputs inputs_of item_input newest profile_input render_isolated rendered "
    "user_sample",
    "reranker": "Answer Calibration DocumentRanker DocumentRanking DoneEvent Engine EngineSettings EngineState "
    "LLMBadAnswer LLMBusy LLMError LLMStartError LLMTimeout LLMUnavailable LlmSettings LocalServer "
    "Memory ModelInfo OrderSensitivity PromptChoice RankingEvent Read Reader ReasonEvent "
    "RecommendationRequest Recommender Repairs Shown StabilityReport Usage embedded engine_settings find "
    "find_or_start local measure_stability order_sensitivity",
    "eval": "AdapterCost ApiBench Arm Config EvalBench FlagsCost LeakError Part PromptsBench Protocol Ratio Reads "
    "ReasonsBench Regime Relevance Report RerankBench RetrievalBench Run bench_adapter bench_api bench_eval "
    "bench_flags bench_prompts bench_reasons bench_rerank bench_retrieval fold fuse judge run",
    "tuning": "PromptWriter TrainingData TrainingEstimate TuningOptions split_for_training tune",
    "api": "Settings create_app load_settings",
}


@pytest.mark.parametrize("folder", PUBLIC)
def test_public_names(folder: str) -> None:
    module = importlib.import_module(folder)
    assert sorted(module.__all__) == sorted(PUBLIC[folder].split())
    for name in module.__all__:
        assert hasattr(module, name)
