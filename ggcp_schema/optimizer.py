"""The optimizer context: the second half of a checkpoint, in three layouts.

llama.cpp, ``write_opt_context`` (version 0: 42d9b4cfc to 43033b7bb; version 1 with params:
d39c8e686; version 1: d395b19c8 to 4072f20bb).
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Mapping
from typing import Any, ClassVar

from construct import Construct, Container, IfThenElse, Switch, this

from ggcp_schema.language.checks import CUT, DAMAGED, Check, one_of, shown, value
from ggcp_schema.language.errors import FormatError
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
from ggcp_schema.language.runs import Bytes, End
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


def _reach(structure: Construct, stream: Any, context: Any) -> float:
    """Return where the first contradiction is; infinity if the structure ends with the file."""
    offset = stream.tell()
    try:
        structure._parse(stream, context, "")
        End()._parse(stream, context, "")
    except FormatError as error:
        return error.offset or 0
    finally:
        stream.seek(offset)
    return math.inf


class StoredRecords(Construct):  # type: ignore[misc]
    """The optimizer's type, found out from the records that follow; takes no bytes itself.

    Where no candidate ends with the file, the one that fits further is taken, and parsing it says
    what is wrong.

    Attributes:
        states: the candidates.
        docs: how the type is told, for the documentation.
    """

    def __init__(self, states: Mapping[OptimizerType, Struct]) -> None:
        super().__init__()
        self.states = states
        self.docs = (
            "Not stored. Follow the structure of each candidate up to its end, which takes nothing "
            "but the counts (every record's length follows from its shape): the right one ends "
            "exactly where the file ends. With the same counts L-BFGS takes more bytes than Adam, "
            "always, so at most one does. If none does, the file is damaged: reject it, and name "
            "what is wrong in the candidate that fits further."
        )

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        # Every trainer stored m = 0 with Adam: where both fit as far, m says which is meant.
        likely = OptimizerType.LBFGS if context["approx_hessian_count"] else OptimizerType.ADAM
        candidates = sorted(self.states, key=lambda kind: kind is not likely)
        return int(max(candidates, key=lambda kind: _reach(self.states[kind], stream, context)))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        return None


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
    field("type", StoredRecords(VERSION_1_STATES),
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
# fmt: on


class OptimizerContext(Construct):  # type: ignore[misc]
    """One of the layouts, told apart by the version and by where the parameter count stands.

    Attributes:
        layouts: the alternatives.
        versions: what the first field says in each.
        parameter_count_offsets: where the parameter count stands in those of the same version.
        docs: how the layout is told, for the documentation.
    """

    layouts: ClassVar = {
        Layout.VERSION_0: OptimizerVersion0,
        Layout.VERSION_1: OptimizerVersion1,
        Layout.VERSION_1_WITH_PARAMS: OptimizerVersion1WithParams,
    }
    versions: ClassVar = {
        Layout.VERSION_0: 0,
        Layout.VERSION_1: 1,
        Layout.VERSION_1_WITH_PARAMS: 1,
    }
    parameter_count_offsets: ClassVar = {Layout.VERSION_1: 12, Layout.VERSION_1_WITH_PARAMS: 100}

    def __init__(self) -> None:
        super().__init__()
        self.docs = (
            "``version``, the first u32: 0 is version 0, 1 is either of the others; any other "
            "value: reject. Version 1 and version 1 with params are told apart by where "
            "``parameter_count``, known from the model, stands as an i64: 12 bytes from the start "
            "of the optimizer context, or 100 with params. If it stands in neither place, reject, "
            "and name ``parameter_count``. If in both, as by chance in some tiny models, the right "
            "layout is the one whose whole structure (for version 1, with either type) ends where "
            "the file ends; should both, which no trainer's file does, it is version 1. If neither "
            "does, reject."
        )

    def _layout(self, stream: Any, context: Any) -> Layout:
        offset = stream.tell()
        head = stream.read(108)
        stream.seek(offset)
        if len(head) < 4:
            return Layout.VERSION_0  # whose first field says that the file ends there
        (version,) = struct.unpack_from("<L", head)
        if version not in self.versions.values():
            raise _unknown(version, offset, DAMAGED)
        if version == 0:
            return Layout.VERSION_0
        count = struct.pack("<q", context["parameter_count"])
        places = self.parameter_count_offsets.items()
        found = [layout for layout, place in places if head[place : place + 8] == count]
        if len(found) == 1:
            return found[0]
        if found:
            whole = (key for key in found if _reach(self.layouts[key], stream, context) == math.inf)
            return next(whole, found[0])
        if len(head) < 108:
            raise FormatError(
                offset=offset,
                expected="108 bytes of an optimizer context",
                found=f"{len(head)} bytes and the end of the file",
                hint=CUT,
            )
        there, beyond = (struct.unpack_from("<q", head, place)[0] for _, place in places)
        raise FormatError(
            path="parameter_count",
            offset=offset + 12,
            expected=f"{context['parameter_count']} (the elements of the model's tensors)",
            found=f"{there}, and {beyond} in the other place where it may stand (+88)",
            hint=DAMAGED,
        )

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        layout = self._layout(stream, context)
        try:
            container = self.layouts[layout]._parse(stream, context, path)
        except FormatError as error:
            error.partial["layout"] = layout
            raise
        container["layout"] = layout
        return container

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        version = obj.get("version") if isinstance(obj, Mapping) else None
        if version == 0:
            layout = Layout.VERSION_0
        elif version == 1:
            layout = Layout.VERSION_1_WITH_PARAMS if "params" in obj else Layout.VERSION_1
        else:
            raise _unknown(version, stream.tell(), "give the version of the optimizer context")
        return self.layouts[layout]._build(obj, stream, context, path)


def _unknown(version: Any, offset: int, hint: str) -> FormatError:
    error = FormatError(
        path="version", offset=offset, expected="0 or 1", found=shown(version), hint=hint
    )
    error.partial = Container()  # nothing of the context can be read
    return error
