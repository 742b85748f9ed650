"""The optimizer context: the second half of a checkpoint, in three layouts.

llama.cpp, ``write_opt_context`` (version 0: e32089b2c to 43033b7bb; version 1 with params:
d39c8e686; version 1: d395b19c8 to 4072f20bb).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import Any, ClassVar

from construct import Construct, IfThenElse, Switch, this

from ggcp_schema.errors import FormatError
from ggcp_schema.fields import (
    DAMAGED,
    F32,
    I32,
    I64,
    U8,
    U32,
    Bytes,
    Check,
    End,
    Field,
    Struct,
    computed,
    derived,
    field,
    one_of,
    value,
)
from ggcp_schema.tensor import Tensor


class OptimizerType(enum.IntEnum):
    """C: ``enum ggml_opt_type``."""

    ADAM = 0
    LBFGS = 1


class Layout(enum.Enum):
    """The layouts of the optimizer context, by what their documentation calls them."""

    VERSION_0 = "version 0"
    VERSION_1 = "version 1"
    VERSION_1_WITH_PARAMS = "version 1 with params"


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
)

LbfgsParams = Struct(
    field("approx_hessian_count", I32,
        "lbfgs.m", "Corrections kept to approximate the inverse Hessian; 0 with Adam.",
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
)
"""``struct ggml_opt_params`` as it lay in memory: 96 bytes."""

_VERSION = field("version", U32,
        "version", "Version of the optimizer context.",
        one_of([0, 1], "0 or 1"))
_COUNTERS: tuple[Field, ...] = (
    derived("parameter_count", I64, this._root.parameter_count,
        "nx", "Parameters of the model: the elements of all its tensors."),
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
)

AdamVersion1 = Struct(
    field("first_moments", Tensor("", _nx),
        "adam.m", "Running mean of the gradient."),
    field("second_moments", Tensor("", _nx),
        "adam.v", "Running mean of the squared gradient."),
    _PAST_LOSS_VALUES,
    *_ADAM_SCALARS,
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
        "lbfgs.lmal", "alpha of each correction."),
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
        "lbfgs.j", "j of the line search."),
    field("line_search_k", I32,
        "lbfgs.k", "k of the line search."),
    field("line_search_end", I32,
        "lbfgs.end", "Where in the memory the next correction goes."),
    field("no_improvement_count", I32,
        "n_no_improvement", "Iterations since the loss last improved.",
        _NOT_NEGATIVE),
)
"""The same in both versions."""
# fmt: on

VERSION_1_STATES = {OptimizerType.ADAM: AdamVersion1, OptimizerType.LBFGS: Lbfgs}
VERSION_0_STATES = {OptimizerType.ADAM: AdamVersion0, OptimizerType.LBFGS: Lbfgs}


class StoredRecords(Construct):  # type: ignore[misc]
    """The optimizer's type, found out from the records that follow; takes no bytes itself.

    Version 1 does not store it. Each candidate's whole structure is tried up to the end of the
    file. With the same counts L-BFGS takes more bytes than Adam, always, so at most one of them
    ends where the file ends. Where none does, the one that fits further is taken, and parsing it
    says what is wrong.
    """

    def __init__(self, states: Mapping[OptimizerType, Struct]) -> None:
        super().__init__()
        self.states = states

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        offset = stream.tell()
        reached: dict[int, int] = {}
        for optimizer_type, state in self.states.items():
            stream.seek(offset)
            try:
                state._parse(stream, context, path)
                End()._parse(stream, context, path)
            except FormatError as error:
                reached[optimizer_type.value] = error.offset or 0
            else:
                stream.seek(offset)
                return optimizer_type.value
        stream.seek(offset)
        return max(reached, key=reached.__getitem__)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        return None


# fmt: off
OptimizerVersion0 = Struct(
    _VERSION,
    field("params", Params,
        "params", "All settings of the optimizer."),
    *_COUNTERS,
    *_FROM_PARAMS,
    field("state", Switch(this.type, VERSION_0_STATES),
        "-", "What the optimizer has learnt."),
)

OptimizerVersion1 = Struct(
    _VERSION,
    field("convergence_past_count", I32,
        "past", "Losses kept for the test of convergence.",
        _NOT_NEGATIVE),
    field("approx_hessian_count", I32,
        "lbfgs.m", "Corrections kept by L-BFGS; 0 with Adam.",
        _NOT_NEGATIVE),
    *_COUNTERS,
    field("type", StoredRecords(VERSION_1_STATES),
        "-", "The optimizer's type: not stored, but told by the records that follow.",
        _KNOWN_TYPE,
        Check((value == OptimizerType.ADAM.value) | (this.approx_hessian_count > 0),
            "0 (Adam), because approx_hessian_count is 0")),
    field("state", Switch(this.type, VERSION_1_STATES),
        "-", "What the optimizer has learnt."),
)

OptimizerVersion1WithParams = Struct(
    _VERSION,
    field("params", Params,
        "params", "All settings of the optimizer."),
    *_COUNTERS,
    *_FROM_PARAMS,
    field("state", Switch(this.type, VERSION_1_STATES),
        "-", "What the optimizer has learnt."),
)
# fmt: on


class OptimizerContext(Construct):  # type: ignore[misc]
    """One of the layouts, told apart by the version and by where the parameter count stands.

    The two layouts of version 1 differ in the place of ``nx``: 12 bytes from the start, or 100
    with params. What stands at +12 with params is ``delta`` and ``max_no_improvement``; should it
    be the parameter count by chance, the layout whose whole structure ends with the file is right.
    """

    layouts: ClassVar = {
        Layout.VERSION_0: OptimizerVersion0,
        Layout.VERSION_1: OptimizerVersion1,
        Layout.VERSION_1_WITH_PARAMS: OptimizerVersion1WithParams,
    }
    parameter_count_offsets: ClassVar = {Layout.VERSION_1: 12, Layout.VERSION_1_WITH_PARAMS: 100}

    def _layout(self, stream: Any, context: Any) -> Layout:
        offset = stream.tell()
        head = stream.read(108)
        stream.seek(offset)
        if head[:4] != b"\x01\0\0\0":
            return Layout.VERSION_0  # whose check of the version names any other
        count = struct.pack("<q", context["parameter_count"])
        places = self.parameter_count_offsets.items()
        found = [layout for layout, place in places if head[place : place + 8] == count]
        if not found and len(head) == 108:
            (there,) = struct.unpack_from("<q", head, 12)
            raise FormatError(
                path="parameter_count",
                offset=offset + 12,
                expected=f"{context['parameter_count']} (the elements of the model's tensors)",
                found=f"{there}, nor is it 88 bytes further on",
                hint=DAMAGED,
            )
        for layout in found[1:]:
            try:
                self.layouts[found[0]]._parse(stream, context, "")
                End()._parse(stream, context, "")
            except FormatError:
                return layout
            finally:
                stream.seek(offset)
        return found[0] if found else Layout.VERSION_1

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        layout = self._layout(stream, context)
        container = self.layouts[layout]._parse(stream, context, path)
        container["layout"] = layout
        return container

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        version = obj.get("version") if isinstance(obj, Mapping) else None
        if version == 0:
            layout = Layout.VERSION_0
        elif version == 1:
            layout = Layout.VERSION_1_WITH_PARAMS if "params" in obj else Layout.VERSION_1
        else:
            raise FormatError(
                path="version",
                offset=stream.tell(),
                expected="0 or 1",
                found=str(version),
                hint="give the version of the optimizer context",
            )
        return self.layouts[layout]._build(obj, stream, context, path)
