"""Each folder has one public entry; a change of it is a decision, not an accident."""

import importlib

import pytest

PUBLIC = {
    "retrieval": "AlsModel AlsParameters ApiKey Artifact ArtifactError Candidate Catalog Columns DataError "
    "DataSettings Dataset Diversify EVENTS Embedder EmbeddingError EmbeddingSettings EncodedDataset Evidence "
    "Example Filter Finding ForgetReceipt HELD_BACK HistoryEntry IMPRESSION InputError Interaction Item "
    "ItemKnn LoggedRecommendation Manifest Meaning NotFoundError Notice Penalty RATING RATING_BEST "
    "RetrievalRequest Retrieved Retriever Search SearchBudget Source Split Store StoreError StoreMark "
    "StoreSettings StoredItem UserEvent UserState Verdict WhyrankError Wish WishCondition WishMethod "
    "add_stored checked_id checks choose_parameters counts_as cross_validated current_build current_data "
    "current_manifest describe_data describe_origin deviation diversified_order encode_dataset extend_artifact "
    "fit flush_to_disk item_features known_parameters load make_dataset meaning new_item_places open_embedder "
    "popularity predict_values read_small_file readers rebuild_dataset remove_other_builds search_parameters split_key "
    "splits with_relative_paths",
    "prompts": "BudgetError BudgetSteps BudgetedPrompt CandidateInput Change DEFAULT_ALIAS DRAFT EXAMPLE EvidenceInput "
    "FACTS FrontMatter HistoryInput ItemInput KNOWN LibraryError MAX_DOCUMENT MAX_LENGTH Message Prompt "
    "PromptEditor PromptLibrary PromptTemplate Rendered RuntimeFailures SHAPES Sample Sampling "
    "Sanitizer Scoring Stamp TemplateError TemplateReference Trimmed allowed_inputs append_line budget_steps "
    "candidate_inputs check_template document_inputs draft_hash evidence_inputs file_stamp fit_to_budget "
    "history_inputs item_input newest_entries profile_input read_lines read_source render_isolated render_sample "
    "user_sample version_number with_attributes write_atomically",
    "reranker": "ADAPTER_FILE ADAPTER_WEIGHTS AdapterChoice AdapterManifest Agreement Answer BATCH_TABLE Basis "
    "BatchError BatchFolder BatchJob BatchManifest BatchOutcome BreakerState Calibration DEFAULT_NEW_ITEMS "
    "Degraded NEW_ITEM_FEATURES new_item_features Gain NewItemFit RayPool Slice wish_template WishFit "
    "DocumentRanker DocumentRanking DoneEvent EMBEDDED Engine EngineSettings EngineState Estimate Event Explainer "
    "FUSION_FILE Feature FusionFit LLMBadAnswer LLMBusy LLMError LLMStartError LLMTimeout LLMUnavailable "
    "LikelihoodScorer ListwiseScorer LlmSettings LocalPool LocalServer MAX_CANDIDATES MAX_DEADLINE_MS MAX_ITEMS Memory "
    "ModelInfo OrderSensitivity PLAIN_FEATURES PRESETS PermutationScorer PointwiseScorer PromptChoice "
    "ROW_SCHEMA RankInputs RankingEvent Read Reader Reason ReasonBody ReasonEvent ReasonStatistics "
    "ReasonWriter RecommendationRequest Recommender Repairs Scope Scorer SecondLookFigures StabilityReport "
    "StartProgress TASKS TUNED Task UnderstoodBody Usage Wanted WishReader WishReading Written agreement "
    "base_fingerprint cache_salt candidate_signals changed_users check_target choose_adapter describe_understood "
    "embedded engine_settings estimate_batch find_or_start_server find_server fixed_weights free_port fused_scores "
    "fusion_features label_candidates load_adapter load_batch load_fit lora_flags measure_stability memory_shortage "
    "order_sensitivity pin_prompts positions_by_score prompt_ending rank_inputs read_labelled_reasons "
    "requests_scope resolve_model run_batch runs_on_cpu save_fit server_options this_machine "
    "try_second_look_on users_scope write_reasons",
    "eval": "ANSWERS AbCost AbOutcome AbReport AbRun AbSetup AbVerdict AdapterCost AnswerStore ApiBench Arm "
    "BLESSED BlessedBaseline BlindChoice ChoiceTally log_choice read_choices tally_choices "
    "REASON_METRICS ReasonsAbReport compare_reasons reasons_markdown "
    "ColdItemsBench DEFAULT_ARMS EvalBench EvalReport EvidenceBench ExperimentConfig "
    "ExperimentRun FRACTION FaultSoak FeedbackReport FitBench FlagsCost HoldoutProtocol LeakError MARGIN Mean "
    "OPENED Part ProgressCallback PromptsBench RESPONSES Ratio Reads ReasonsBench Regime Relevance RerankBench "
    "RetrievalBench StoreBench Training WISH_ARMS WishReport adapter_training bench_adapter bench_api "
    "bench_cold_items bench_eval bench_evidence bench_faults bench_fit bench_flags bench_prompts bench_reasons "
    "bench_rerank bench_retrieval bench_store build_ab_report build_report check_purpose copy_openings "
    "count_openings feedback_text fit_fusion_weights forget_in_runs judge_wishes make_fold parameters_saw_test "
    "WishCase fit_wish_weights fit_new_item_weights "
    "parse_arm per_user_table read_wishes report_feedback run_ab run_experiment tables training_part "
    "wishes_text write_report",
    "tuning": "PromptWriter TrainingData TrainingEstimate TrainingProgress TuningOptions split_for_training tune",
    "api": "Settings create_app load_settings",
}


@pytest.mark.parametrize("folder", PUBLIC)
def test_public_names(folder: str) -> None:
    module = importlib.import_module(folder)
    assert sorted(module.__all__) == sorted(PUBLIC[folder].split())
    for name in module.__all__:
        assert hasattr(module, name)
