"""Each folder has one public entry; a change of it is a decision, not an accident."""

import importlib

import pytest

PUBLIC = {
    "retrieval": "AlsModel AlsParameters Artifact ArtifactError Candidate Catalog Columns DataError DataSettings "
    "Dataset Diversify EncodedDataset Evidence Example Filter Finding HELD_BACK HistoryEntry InputError Interaction "
    "Item ItemKnn Manifest Meaning NotFoundError Notice Penalty RATING RATING_BEST RetrievalRequest Retrieved "
    "Retriever Search SearchBudget Source Split WhyrankError checks choose_parameters cross_validated "
    "current_build current_data current_manifest describe_data describe_origin deviation diversified_order "
    "encode_dataset fit flush_to_disk item_features known_parameters load make_dataset meaning popularity "
    "predict_values read_small_file readers rebuild_dataset save search_parameters splits with_relative_paths",
    "prompts": "BudgetError BudgetSteps BudgetedPrompt CandidateInput DEFAULT_ALIAS DRAFT EXAMPLE FACTS FrontMatter "
    "HistoryInput ItemInput KNOWN LibraryError MAX_DOCUMENT MAX_LENGTH Message Prompt PromptEditor "
    "PromptLibrary PromptTemplate Rendered RuntimeFailures Sample Sampling Sanitizer Scoring Stamp "
    "TemplateError TemplateReference Trimmed allowed_inputs budget_steps candidate_inputs check_template "
    "document_inputs evidence_inputs file_stamp fit_to_budget history_inputs item_input newest_entries "
    "profile_input read_source render_isolated render_sample user_sample version_number with_attributes "
    "write_atomically",
    "reranker": "ADAPTER_FILE ADAPTER_WEIGHTS AdapterChoice AdapterManifest Agreement Answer Basis BreakerState "
    "Calibration DocumentRanker DocumentRanking DoneEvent EMBEDDED Engine EngineSettings EngineState Event "
    "FUSION_FILE Feature FusionFit LLMBadAnswer LLMBusy LLMError LLMStartError LLMTimeout LLMUnavailable "
    "LikelihoodScorer ListwiseScorer LlmSettings LocalServer MAX_CANDIDATES MAX_DEADLINE_MS MAX_ITEMS Memory "
    "ModelInfo OrderSensitivity PLAIN_FEATURES PRESETS PermutationScorer PointwiseScorer PromptChoice "
    "RankInputs RankingEvent Read Reader Reason ReasonBody ReasonEvent ReasonStatistics ReasonWriter "
    "RecommendationRequest Recommender Repairs Scorer StabilityReport StartProgress TASKS TUNED Usage Wanted "
    "agreement base_fingerprint candidate_signals choose_adapter embedded engine_settings "
    "find_or_start_server find_server fixed_weights free_port fused_scores fusion_features label_candidates "
    "load_adapter load_fit lora_flags measure_stability memory_shortage order_sensitivity positions_by_score "
    "prompt_ending rank_inputs read_labelled_reasons resolve_model runs_on_cpu save_fit server_options "
    "this_machine write_reasons",
    "eval": "AdapterCost AnswerStore ApiBench Arm ColdItemsBench DEFAULT_ARMS EvalBench EvalReport ExperimentConfig "
    "ExperimentRun FRACTION FaultSoak FitBench FlagsCost HoldoutProtocol LeakError Mean OPENED Part "
    "ProgressCallback PromptsBench Ratio Reads ReasonsBench Regime Relevance RerankBench RetrievalBench "
    "Training adapter_training bench_adapter bench_api bench_cold_items bench_eval bench_faults bench_fit "
    "bench_flags bench_prompts bench_reasons bench_rerank bench_retrieval build_report copy_openings "
    "count_openings fit_fusion_weights make_fold parameters_saw_test parse_arm run_experiment tables "
    "training_part",
    "tuning": "PromptWriter TrainingData TrainingEstimate TrainingProgress TuningOptions split_for_training tune",
    "api": "Settings create_app load_settings",
}


@pytest.mark.parametrize("folder", PUBLIC)
def test_public_names(folder: str) -> None:
    module = importlib.import_module(folder)
    assert sorted(module.__all__) == sorted(PUBLIC[folder].split())
    for name in module.__all__:
        assert hasattr(module, name)
