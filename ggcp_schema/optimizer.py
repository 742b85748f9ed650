"""The optimizer context: the second half of a checkpoint, in three layouts.

llama.cpp, ``write_opt_context`` (version 0: 42d9b4cfc to 43033b7bb; version 1 with params:
d39c8e686; version 1: d395b19c8 to 4072f20bb).
"""

from __future__ import annotations

from construct import this

from ggcp_schema.enums import Layout, OptimizerType
from ggcp_schema.language.checks import Check, one_of, value
from ggcp_schema.language.constructs import IfThenElse, Switch
from ggcp_schema.language.fields import (
    F32,
    I32,
    I64,
    U8,
    U32,
    Field,
    Struct,
    computed,
    derived,
    field,
)
from ggcp_schema.language.runs import Bytes
from ggcp_schema.tensor import Tensor
from ggcp_schema.variants import LayoutByParameterCount, TypeByRecords

_NOT_NEGATIVE = Check(value >= 0, "0 or more")
_KNOWN_TYPE = one_of(OptimizerType, "0 (Adam) or 1 (L-BFGS)")

_nx = this._.parameter_count
_m = this._.approx_hessian_count

# fmt: off
AdamParams = Struct(
    field("iteration_limit", I32,
        "adam.n_iter", "Iterations in a run."),
    field("schedule_factor", F32,
        "adam.sched", "Factor on the learning rate at the last iteration."),
    field("weight_decay", F32,
        "adam.decay", "Weight decay for AdamW; 0 is none."),
    field("learning_rate", F32,
        "adam.alpha", "Learning rate."),
    field("first_moment_decay", F32,
        "adam.beta1", "Decay of the first moments for each iteration."),
    field("second_moment_decay", F32,
        "adam.beta2", "Decay of the second moments for each iteration."),
    field("epsilon", F32,
        "adam.eps", "Added to the root of the second moments."),
    field("loss_epsilon", F32,
        "adam.eps_f", "Convergence: relative change of the loss."),
    field("gradient_epsilon", F32,
        "adam.eps_g", "Convergence: norm of the gradient."),
    docs="Settings of Adam, stored whatever the optimizer is.",
)

LbfgsParams = Struct(
    field("approx_hessian_count", I32,
        "lbfgs.m", "Corrections kept to approximate the inverse Hessian; writers store 0 with "
        "Adam, but do not rely on that.",
        _NOT_NEGATIVE,
        Check((this._.type == OptimizerType.ADAM.value) | (value > 0), "at least 1 with L-BFGS")),
    field("iteration_limit", I32,
        "lbfgs.n_iter", "Iterations in a run."),
    field("line_search_limit", I32,
        "lbfgs.max_linesearch", "Trials in a line search."),
    field("gradient_epsilon", F32,
        "lbfgs.eps", "Convergence: norm of the gradient relative to that of x."),
    field("line_search_tolerance", F32,
        "lbfgs.ftol", "Line search: tolerance of the Armijo condition."),
    field("wolfe_coefficient", F32,
        "lbfgs.wolfe", "Line search: coefficient of the Wolfe condition."),
    field("smallest_step", F32,
        "lbfgs.min_step", "Line search: smallest step."),
    field("largest_step", F32,
        "lbfgs.max_step", "Line search: largest step."),
    field("line_search_condition", U32,
        "lbfgs.linesearch", "Line search: 0 Armijo or default, 1 Wolfe, 2 strong Wolfe."),
    docs="Settings of L-BFGS, stored whatever the optimizer is.",
)

Params = Struct(
    field("type", U32,
        "type", "0 is Adam, 1 is L-BFGS.",
        _KNOWN_TYPE),
    field("thread_count", I32,
        "n_threads", "Threads of the run."),
    field("convergence_past_count", I32,
        "past", "Iterations over which the loss must not change to have converged; 0: no test.",
        _NOT_NEGATIVE),
    field("convergence_delta", F32,
        "delta", "Convergence: smallest relative change over ``past`` iterations."),
    field("no_improvement_limit", I32,
        "max_no_improvement", "Iterations without improvement before stopping; 0: no limit."),
    field("print_forward_graph", U8,
        "print_forward_graph", "C++ bool: 1 to print the forward graph."),
    field("print_backward_graph", U8,
        "print_backward_graph", "C++ bool: 1 to print the backward graph."),
    field("compiler_padding", Bytes(2),
        "(padding)", "Two bytes that the compiler left; any value."),
    field("adam", AdamParams,
        "adam", "Settings of Adam."),
    field("lbfgs", LbfgsParams,
        "lbfgs", "Settings of L-BFGS."),
    docs="struct ggml_opt_params as it lay in memory.",
)

_VERSION_0 = derived("version", U32, 0,
        "version", "Version of the optimizer context.")
_VERSION_1 = derived("version", U32, 1,
        "version", "Version of the optimizer context.")
_COUNTERS: tuple[Field, ...] = (
    derived("parameter_count", I64, this._root.parameter_count,
        "nx", "Parameters of the model: the elements of all its tensors.",
        because="the elements of the model's tensors"),
    field("iteration_count", I32,
        "iter", "Iterations done by the optimizer since it was initialised.",
        _NOT_NEGATIVE),
    field("just_initialized", U32,
        "just_initialized", "1 when the state was set up and nothing was computed yet."),
)
_FROM_PARAMS: tuple[Field, ...] = (
    computed("type", this.params.type,
        "params.type", "The optimizer's type."),
    computed("convergence_past_count", this.params.convergence_past_count,
        "params.past", "Losses kept for the test of convergence."),
    computed("approx_hessian_count", this.params.lbfgs.approx_hessian_count,
        "params.lbfgs.m", "Corrections kept by L-BFGS."),
)

_PAST_LOSS_VALUES = field("past_loss_values",
        IfThenElse(this._.convergence_past_count > 0,
            Tensor("", this._.convergence_past_count),
            Tensor("")),
        "pf", "The losses of the last ``past`` iterations; the empty record when past is 0.")
_PAST_LOSS_VALUES.subcon.flagbuildnone = True  # the empty record carries nothing to give
_ADAM_SCALARS: tuple[Field, ...] = (
    field("best_loss", F32,
        "fx_best", "The smallest loss so far."),
    field("previous_loss", F32,
        "fx_prev", "The loss of the iteration before."),
    field("no_improvement_count", I32,
        "n_no_improvement", "Iterations since the loss last improved.",
        _NOT_NEGATIVE),
)

AdamVersion0 = Struct(
    field("parameters", Tensor("", _nx),
        "adam.x", "The parameters themselves, in the order of the graph."),
    field("gradients", Tensor("", _nx),
        "adam.g1", "The last gradient."),
    field("squared_gradients", Tensor("", _nx),
        "adam.g2", "The last gradient, squared."),
    field("first_moments", Tensor("", _nx),
        "adam.m", "Running mean of the gradient."),
    field("second_moments", Tensor("", _nx),
        "adam.v", "Running mean of the squared gradient."),
    field("corrected_first_moments", Tensor("", _nx),
        "adam.mh", "First moments, corrected for their start at zero."),
    field("corrected_second_moments", Tensor("", _nx),
        "adam.vh", "Second moments, corrected for their start at zero."),
    _PAST_LOSS_VALUES,
    *_ADAM_SCALARS,
    docs="What Adam has learnt, with version 0 of the optimizer context.",
)

AdamVersion1 = Struct(
    field("first_moments", Tensor("", _nx),
        "adam.m", "Running mean of the gradient."),
    field("second_moments", Tensor("", _nx),
        "adam.v", "Running mean of the squared gradient."),
    _PAST_LOSS_VALUES,
    *_ADAM_SCALARS,
    docs="What Adam has learnt, with version 1 of the optimizer context.",
)

Lbfgs = Struct(
    field("current_parameters", Tensor("", _nx),
        "lbfgs.x", "The parameters, in the order of the graph."),
    field("previous_parameters", Tensor("", _nx),
        "lbfgs.xp", "The parameters of the iteration before."),
    field("current_gradients", Tensor("", _nx),
        "lbfgs.g", "The gradient."),
    field("previous_gradients", Tensor("", _nx),
        "lbfgs.gp", "The gradient of the iteration before."),
    field("search_direction", Tensor("", _nx),
        "lbfgs.d", "The direction of the line search."),
    _PAST_LOSS_VALUES,
    field("memory_alpha", Tensor("", _m),
        "lbfgs.lmal", "The factor alpha of each correction, as last computed."),
    field("memory_ys", Tensor("", _m),
        "lbfgs.lmys", "The product y·s of each correction."),
    field("memory_s", Tensor("", _nx, _m),
        "lbfgs.lms", "The change of the parameters of each correction."),
    field("memory_y", Tensor("", _nx, _m),
        "lbfgs.lmy", "The change of the gradient of each correction."),
    field("best_loss", F32,
        "fx_best", "The smallest loss so far."),
    field("line_search_step", F32,
        "lbfgs.step", "The step of the last line search."),
    field("line_search_j", I32,
        "lbfgs.j", "Index of a correction in the memory; as written always the same as ``end``."),
    field("line_search_k", I32,
        "lbfgs.k", "The next iteration, counted from 1 since the state was set up."),
    field("line_search_end", I32,
        "lbfgs.end", "Index of the next correction in the memory, from 0 to m - 1."),
    field("no_improvement_count", I32,
        "n_no_improvement", "Iterations since the loss last improved.",
        _NOT_NEGATIVE),
    docs="What L-BFGS has learnt, the same in every layout of the optimizer context. The trainers "
        "of version 1 save it whole, those of version 0 only if somebody patched them: else they "
        "abort.",
)
# fmt: on

VERSION_1_STATES = {OptimizerType.ADAM: AdamVersion1, OptimizerType.LBFGS: Lbfgs}
VERSION_0_STATES = {OptimizerType.ADAM: AdamVersion0, OptimizerType.LBFGS: Lbfgs}


# fmt: off
OptimizerVersion0 = Struct(
    _VERSION_0,
    field("params", Params,
        "params", "All settings of the optimizer."),
    *_COUNTERS,
    *_FROM_PARAMS,
    field("state", Switch(this.type, VERSION_0_STATES),
        "-", "What the optimizer has learnt."),
    docs="Optimizer context of every release, e32089b2c (2023-06-13) to 43033b7bb (2023-08-28), "
        "and, to the byte the same, of the branch before them, from 42d9b4cfc (2023-05-21) on.",
)

OptimizerVersion1 = Struct(
    _VERSION_1,
    field("convergence_past_count", I32,
        "past", "Losses kept for the test of convergence.",
        _NOT_NEGATIVE),
    field("approx_hessian_count", I32,
        "lbfgs.m", "Corrections kept by L-BFGS; writers store 0 with Adam, but do not rely on it.",
        _NOT_NEGATIVE),
    *_COUNTERS,
    field("type", TypeByRecords(VERSION_1_STATES),
        "-", "The optimizer's type, told by the records that follow.",
        _KNOWN_TYPE,
        Check((value == OptimizerType.ADAM.value) | (this.approx_hessian_count > 0),
            "0 (Adam) where approx_hessian_count is 0")),
    field("state", Switch(this.type, VERSION_1_STATES),
        "-", "What the optimizer has learnt."),
    docs="Optimizer context of the development branch, d395b19c8 (2023-07-28) to 4072f20bb "
        "(2023-08-24).",
)

OptimizerVersion1WithParams = Struct(
    _VERSION_1,
    field("params", Params,
        "params", "All settings of the optimizer."),
    *_COUNTERS,
    *_FROM_PARAMS,
    field("state", Switch(this.type, VERSION_1_STATES),
        "-", "What the optimizer has learnt."),
    docs="Optimizer context of one commit, d39c8e686 (2023-07-28): the header of version 0 in "
        "front of the records of version 1. With L-BFGS nothing but ``version`` tells it from "
        "version 0.",
)

OptimizerContext = LayoutByParameterCount({
    Layout.VERSION_0: OptimizerVersion0,
    Layout.VERSION_1: OptimizerVersion1,
    Layout.VERSION_1_WITH_PARAMS: OptimizerVersion1WithParams,
})
# fmt: on
