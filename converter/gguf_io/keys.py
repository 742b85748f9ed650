"""GGUF keys and tensor names that the gguf package does not have.

Those of the training and optimizer state: llama.cpp, examples/train-text-from-scratch,
``save_llama_model_gguf`` and ``save_opt_context_gguf``, 44c117f41 (2023-08-28).
"""

from __future__ import annotations

TRAINING_FILE_VERSION = "training.file_version"
TRAINING_TYPE = "training.type"
TRAINING_ITERATION_COUNT = "training.iteration_count"
TRAINING_SAMPLE_COUNT = "training.sample_count"
TRAINING_TOKEN_COUNT = "training.token_count"

# llama.cpp, examples/finetune, ``save_llama_lora_gguf``, 0e76a8992 (2023-09-28).
TRAINING_LORA_RANK_TOKEN_EMBD = "training.lora.rank.token_embd"
TRAINING_LORA_RANK_OUTPUT_NORM = "training.lora.rank.output_norm"
TRAINING_LORA_RANK_OUTPUT = "training.lora.rank.output"
TRAINING_LORA_RANK_ATTN_NORM = "training.lora.rank.attn_norm"
TRAINING_LORA_RANK_ATTN_Q = "training.lora.rank.attn_q"
TRAINING_LORA_RANK_ATTN_K = "training.lora.rank.attn_k"
TRAINING_LORA_RANK_ATTN_V = "training.lora.rank.attn_v"
TRAINING_LORA_RANK_ATTN_OUT = "training.lora.rank.attn_output"
TRAINING_LORA_RANK_FFN_NORM = "training.lora.rank.ffn_norm"
TRAINING_LORA_RANK_FFN_GATE = "training.lora.rank.ffn_gate"
TRAINING_LORA_RANK_FFN_DOWN = "training.lora.rank.ffn_down"
TRAINING_LORA_RANK_FFN_UP = "training.lora.rank.ffn_up"

OPTIMIZER_FILE_VERSION = "optimizer.file_version"
OPTIMIZER_CONVERGENCE_PAST_COUNT = "optimizer.convergence_past_count"
OPTIMIZER_PARAMETER_COUNT = "optimizer.parameter_count"
OPTIMIZER_ITERATION_COUNT = "optimizer.iteration_count"
OPTIMIZER_JUST_INITIALIZED = "optimizer.just_initialized"
OPTIMIZER_TYPE = "optimizer.type"
OPTIMIZER_ADAM_BEST_LOSS = "optimizer.adam.best_loss"
OPTIMIZER_ADAM_PREVIOUS_LOSS = "optimizer.adam.previous_loss"
OPTIMIZER_ADAM_NO_IMPROVEMENT_COUNT = "optimizer.adam.no_improvement_count"
OPTIMIZER_LBFGS_APPROX_HESSIAN_COUNT = "optimizer.lbfgs.approx_hessian_count"
OPTIMIZER_LBFGS_BEST_LOSS = "optimizer.lbfgs.best_loss"
OPTIMIZER_LBFGS_LINE_SEARCH_STEP = "optimizer.lbfgs.line_search_step"
OPTIMIZER_LBFGS_LINE_SEARCH_J = "optimizer.lbfgs.line_search_j"
OPTIMIZER_LBFGS_LINE_SEARCH_K = "optimizer.lbfgs.line_search_k"
OPTIMIZER_LBFGS_LINE_SEARCH_END = "optimizer.lbfgs.line_search_end"
OPTIMIZER_LBFGS_NO_IMPROVEMENT_COUNT = "optimizer.lbfgs.no_improvement_count"

# Provenance, in a namespace of our own that every reader ignores.
GGCP_VERSION = "ggcp.version"
GGCP_OPTIMIZER_VERSION = "ggcp.optimizer_version"
GGCP_GRADIENTS = "ggcp.gradients"
GGCP_PARAMETER_ORDER = "ggcp.parameter_order"
GGCP_STORED_PARAMETER_ORDER = "ggcp.stored_parameter_order"
GGCP_GRADIENT_ROWS = "ggcp.gradient_rows"
GGCP_MISSING_VALUES = "ggcp.missing_values"

ADAM_TENSORS = {
    "first_moments": "optimizer.adam.first_moments",
    "second_moments": "optimizer.adam.second_moments",
    "past_loss_values": "optimizer.adam.past_loss_values",
}
LBFGS_TENSORS = {
    "current_parameters": "optimizer.lbfgs.current_parameters",
    "previous_parameters": "optimizer.lbfgs.previous_parameters",
    "current_gradients": "optimizer.lbfgs.current_gradients",
    "previous_gradients": "optimizer.lbfgs.previous_gradients",
    "search_direction": "optimizer.lbfgs.search_direction",
    "past_loss_values": "optimizer.lbfgs.past_loss_values",
    "memory_alpha": "optimizer.lbfgs.memory_alpha",
    "memory_ys": "optimizer.lbfgs.memory_ys",
    "memory_s": "optimizer.lbfgs.memory_s",
    "memory_y": "optimizer.lbfgs.memory_y",
}
"""For each member of the optimizer's state in the schema its name in a GGUF."""
