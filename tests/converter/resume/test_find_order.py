"""In which order the parameters stand, found out from x, or from two signs in v."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import checkpoint as reference
from reference import llama
from resumed import LBFGS, LORA, ORDERS, REAL, SMALL, VERSION_1, Array, elements, parsed, shapes

from converter.inputs import Opened, open_checkpoint
from converter.resume.detect import Finding, find_order
from ggcp_schema.enums import OptimizerType
from ggcp_schema.lora import Ranks
from ggcp_schema.order import Order, paths
from ggcp_schema.synthetic import Synthetic, SyntheticLora

V = "optimizer.state.second_moments"
M = "optimizer.state.first_moments"
X = "optimizer.state.parameters"
LBFGS_X = "optimizer.state.current_parameters"
ALL = (Order.SCRATCH, Order.FLASH, Order.PLAIN)  # in which trainers wrote training checkpoints
every_order = pytest.mark.parametrize("order", ALL)


def find(checkpoint: Opened, orders: tuple[Order, ...] | None = None) -> Finding:
    """What is found, the same thoroughly and from a sample, which covers these small files.

    With ``orders`` among these, as in a file of another kind.
    """
    snapshot = checkpoint.snapshot()
    optimizer = snapshot.required_optimizer
    assert optimizer.orders == ((Order.FLASH, Order.PLAIN) if checkpoint.lora else ALL)
    if orders is not None:
        snapshot = replace(snapshot, optimizer=replace(optimizer, orders=orders))
    sampled, thorough = (find_order(snapshot, thorough=thorough) for thorough in (False, True))
    assert sampled == thorough
    return thorough


@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str, fixtures: Path) -> None:
    with open_checkpoint(fixtures / name) as checkpoint:
        finding = find(checkpoint)
    assert finding.candidates == (Order(REAL[name][0]),)
    assert (finding.settled, finding.indifferent, finding.contradiction) == (True, False, False)


# fmt: off
EVIDENCE = {
    "ggcp_42d9b4cfc_11layers.bin": ("x holds the model's tensors in the order plain",),
    "v0_adam_one.bin": ("x holds the model's tensors in the order scratch",),
    "v0_lbfgs_patched.bin": (
        "x is nearest to the model's tensors in the order scratch "
        "(distance: scratch 0.003763, flash 537.4, plain 538.9)",),
    "v1_lbfgs.bin": (
        "x is nearest to the model's tensors in the order flash "
        "(distance: scratch 516.4, flash 0, plain 237.9)",),
    "v1_adam_one_noflash.bin": (
        "all zeros read in v lie in tok_embeddings in the order plain",
        "log v varies least in the order plain (scratch 11.12, flash 9.167, plain 4.814)"),
}
# fmt: on


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_of_real_files(name: str, fixtures: Path) -> None:
    with open_checkpoint(fixtures / name) as checkpoint:
        assert find(checkpoint).evidence == EVIDENCE[name]


def test_the_real_lbfgs_file_whose_x_is_not_the_model(fixtures: Path) -> None:
    checkpoint = reference.read(fixtures / "v0_lbfgs_patched.bin")
    x = llama.split(checkpoint.optimizer.vectors["x"], "scratch", shapes(checkpoint))
    off = max(np.abs(x[name] - tensor).max() for name, tensor in checkpoint.tensors.items())
    assert 0.004 < off < 0.0085


@st.composite
def synthetics(draw: st.DrawFn) -> Synthetic:
    head_count = draw(st.integers(1, 3))
    version = draw(st.integers(0, 1))
    vocabulary_size = draw(st.integers(20, 60))
    return Synthetic(
        vocabulary_size=vocabulary_size,
        embedding_length=head_count * 2 * draw(st.integers(2, 4)),
        feed_forward_multiple=draw(st.integers(1, 40)),
        head_count=head_count,
        block_count=draw(st.integers(1, 4)),
        optimizer_type=draw(st.sampled_from(OptimizerType)),
        optimizer_version=version,
        with_params=bool(version) and draw(st.booleans()),
        convergence_past_count=draw(st.integers(0, 3)),
        approx_hessian_count=draw(st.integers(1, 3)),
        order=draw(st.sampled_from(ALL)),
        unseen_token_count=draw(st.sampled_from([0, 1, vocabulary_size // 2])),
        seed=draw(st.integers(0, 2**32)),
    )


@settings(deadline=None)
@given(synthetics())
def test_synthetic_files(synthetic: Synthetic) -> None:
    with parsed(synthetic) as checkpoint:
        finding = find(checkpoint)
    has_x = synthetic.optimizer_type is OptimizerType.LBFGS or synthetic.optimizer_version == 0
    if has_x:
        assert finding.candidates == (synthetic.order,)
    # Moments of random sizes can be alike in tensors that differ in place: then more are left.
    assert synthetic.order in finding.candidates
    assert finding.settled == (len(finding.candidates) == 1)


@every_order
@pytest.mark.parametrize("block_count", [1, 2, 11])
@pytest.mark.parametrize("unseen", [0, 35])
@pytest.mark.parametrize("with_params", [False, True])
def test_the_signs_in_v_settle_it(
    order: Order, block_count: int, unseen: int, with_params: bool
) -> None:
    given = replace(VERSION_1, order=order, block_count=block_count, with_params=with_params)
    with parsed(replace(given, unseen_token_count=unseen)) as checkpoint:
        finding = find(checkpoint)
    assert finding.candidates == (order,)
    assert finding.settled
    said = "no zeros were read in v"
    if unseen:
        said = f"all zeros read in v lie in tok_embeddings in the order {order.value}"
    assert finding.evidence[0] == said


def with_v(change: Callable[[Array], object], given: Synthetic = VERSION_1) -> Finding:
    v = elements(given, "second_moments")
    change(v)
    with parsed(given, {V: v}) as checkpoint:
        return find(checkpoint)


def test_signs_that_contradict_each_other() -> None:
    # In the order scratch tok_embeddings are the first 320, so zeros there are no other order's.
    def forge(v: Array) -> None:
        v[:8] = 0

    finding = with_v(forge, replace(VERSION_1, order=Order.FLASH))
    assert (finding.candidates, finding.contradiction, finding.settled) == ((), True, False)
    assert str(finding) == (
        "all zeros read in v lie in tok_embeddings in the order scratch, "
        "log v varies least in the order flash (scratch 5.756, flash 0.1493, plain 1.56)"
    )


def test_zeros_in_many_tensors_are_no_sign() -> None:
    finding = with_v(lambda v: v.__setitem__(slice(None, None, 50), 0))
    assert finding.candidates == (Order.SCRATCH,)
    assert finding.evidence[0] == "zeros in v lie outside tok_embeddings in every order"


def test_numbers_below_zero_in_v_are_no_zeros() -> None:
    given = replace(VERSION_1, unseen_token_count=35)
    finding = with_v(lambda v: v.__setitem__(slice(None, None, 50), -1), given)
    assert finding.evidence[0] == "all zeros read in v lie in tok_embeddings in the order scratch"


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, -1.0, "signalling"])
def test_strange_numbers_in_v_are_passed_over(strange: float | str) -> None:
    def change(v: Array) -> None:
        if strange == "signalling":
            v.view("<u4")[::7] = 0x7FA00000
        else:
            v[::7] = strange

    assert with_v(change).candidates == (Order.SCRATCH,)


def test_tiny_numbers_in_v_count() -> None:
    # The smallest are denormal: 1e-45 and its multiples.
    assert with_v(lambda v: v.__imul__(np.float32(1e-34))).candidates == (Order.SCRATCH,)


@pytest.mark.parametrize("value", [0.3, 1e-45, 3e38])
def test_a_constant_v_is_no_sign(value: float) -> None:
    finding = with_v(lambda v: v.fill(value))
    assert (finding.candidates, finding.settled, finding.indifferent) == (ALL, False, False)
    assert finding.evidence == (
        "no zeros were read in v",
        "log v varies as much in each (scratch 0, flash 0, plain 0)",
    )


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, np.nan])
def test_a_v_without_numbers_above_zero_is_no_sign(value: float) -> None:
    finding = with_v(lambda v: v.fill(value))
    assert (finding.candidates, finding.settled, finding.indifferent) == (ALL, False, False)
    assert finding.evidence == ("nothing above zero was read in v",)


@pytest.mark.parametrize("value", [0.0, 0.3, np.nan])
def test_where_all_orders_give_the_same_bytes_none_matters(value: float) -> None:
    constant = np.full(elements(VERSION_1, "first_moments").size, value, "<f4")
    with parsed(VERSION_1, {M: constant, V: constant}) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.settled, finding.indifferent) == (ALL, True, True)
    constant[-1] = -1
    with parsed(VERSION_1, {M: constant, V: constant}) as checkpoint:
        assert not find(checkpoint).settled


def test_x_settles_it_even_where_it_does_not_matter() -> None:
    given = Synthetic(**SMALL, order=Order.PLAIN)  # type: ignore[arg-type]
    zeros = np.zeros(elements(given, "second_moments").size, "<f4")
    with parsed(given, {M: zeros, V: zeros}) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.indifferent) == ((Order.PLAIN,), True)


@every_order
def test_without_layers_flash_and_plain_are_the_same(order: Order) -> None:
    same = (Order.SCRATCH,) if order is Order.SCRATCH else (Order.FLASH, Order.PLAIN)
    for version in (0, 1):
        given = Synthetic(
            **SMALL,  # type: ignore[arg-type]
            optimizer_version=version,
            block_count=0,
            order=order,
            unseen_token_count=3,
        )
        with parsed(given) as checkpoint:
            finding = find(checkpoint)
        assert (finding.candidates, finding.settled) == (same, True)


def test_without_layers_and_zeros_nothing_tells_the_order() -> None:
    # All three cut the vector at the same places.
    with parsed(replace(VERSION_1, block_count=0)) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.settled) == (ALL, False)
    assert finding.evidence[1].startswith("log v varies as much in each (")


def test_x_that_is_not_the_model() -> None:
    given = Synthetic(**SMALL)  # type: ignore[arg-type]
    x = elements(given, "parameters")
    x[-1] = np.nextafter(x[-1], np.float32(1))
    with parsed(given, {X: x}) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.contradiction) == ((), True)
    assert finding.evidence == ("x holds the model's tensors in no order",)


def test_equal_weights_tell_nothing_by_x() -> None:
    given = Synthetic(**SMALL, block_count=0)  # type: ignore[arg-type]
    x = elements(given, "parameters")
    x.fill(0.5)
    model = {
        "model.tok_embeddings": x[:320].reshape(40, 8),
        "model.norm": x[:8],
        "model.output": x[:320].reshape(40, 8),
    }
    with parsed(given, {X: x, **model}) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.settled) == (ALL, False)
    assert finding.evidence == ("x holds the model's tensors in every order alike",)


def with_lbfgs_x(order: Order, change: Callable[[Array], object]) -> Finding:
    given = replace(LBFGS, order=order)
    x = elements(given, "current_parameters")
    change(x)
    with parsed(given, {LBFGS_X: x}) as checkpoint:
        return find(checkpoint)


@every_order
def test_lbfgs_x_may_be_off_as_far_as_a_failed_line_search_goes(order: Order) -> None:
    def shake(x: Array) -> None:
        x += np.random.default_rng(1).uniform(-0.008, 0.008, x.size).astype("<f4")

    assert with_lbfgs_x(order, shake).candidates == (order,)


@every_order
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 3e38])
def test_lbfgs_x_with_strange_numbers(order: Order, strange: float) -> None:
    assert with_lbfgs_x(order, lambda x: x.__setitem__(5, strange)).candidates == (order,)


def test_lbfgs_x_and_model_with_the_same_strange_numbers() -> None:
    given = replace(LBFGS, order=Order.SCRATCH)
    x = elements(given, "current_parameters")
    x[:100] = np.nan
    embeddings = x[:320].reshape(40, 8).copy()  # the first tensor in the order scratch
    x[319] += np.float32(0.25)
    with parsed(given, {LBFGS_X: x, "model.tok_embeddings": embeddings}) as checkpoint:
        finding = find(checkpoint)
    assert finding.candidates == (Order.SCRATCH,)
    assert "(distance: scratch 0.0625, " in str(finding)


def test_lbfgs_x_that_is_all_alike_tells_nothing() -> None:
    finding = with_lbfgs_x(Order.FLASH, lambda x: x.fill(0))
    assert (finding.candidates, finding.settled) == (ALL, False)


FOUR = tuple(Order)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("unseen", [0, 35])
def test_four_orders_by_the_moments(order: Order, unseen: int) -> None:
    given = replace(VERSION_1, order=order, unseen_token_count=unseen)
    with parsed(given) as checkpoint:
        finding = find(checkpoint, FOUR)
    assert (finding.candidates, finding.settled) == ((order,), True)
    assert finding.evidence[1].startswith(f"log v varies least in the order {order.value} (")
    rtl = order in (Order.SCRATCH, Order.FLASH_RTL)  # which differ inside the attention only
    names = "orders scratch and flash-rtl alike" if rtl else f"order {order.value}"
    said = f"all zeros read in v lie in tok_embeddings in the {names}"
    assert finding.evidence[0] == (said if unseen else "no zeros were read in v")


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("with_x", [Synthetic(**SMALL), LBFGS])  # type: ignore[arg-type]
def test_four_orders_by_the_parameters(order: Order, with_x: Synthetic) -> None:
    with parsed(replace(with_x, order=order)) as checkpoint:
        assert find(checkpoint, FOUR).candidates == (order,)


def nearly_alike(order: Order) -> Array:
    """Second moments of which only attention_norm's are of another size than its neighbours'."""
    random = np.random.default_rng(3)
    with parsed(replace(VERSION_1, order=order)) as checkpoint:
        weights = checkpoint.snapshot().weights
    logarithms = []
    for path in paths(order, 2):
        attention = path.rpartition(".")[2] in ("wq", "wk", "wv")
        size = 0 if attention else 0.7 if "attention_norm" in path else random.uniform(-5, 5)
        logarithms.append(random.normal(size, 0.6, weights[path].span.length // 4))
    return np.exp(np.concatenate(logarithms)).astype("<f4")


@pytest.mark.parametrize("order", [Order.SCRATCH, Order.FLASH_RTL])
def test_two_orders_are_compared_only_where_they_differ(order: Order) -> None:
    """Over all tensors the margin could not tell them: their figures are alike within 1 %."""
    with parsed(replace(VERSION_1, order=order), {V: nearly_alike(order)}) as checkpoint:
        finding = find(checkpoint, FOUR)
    assert finding.candidates == (order,)
    figures = dict(re.findall(r"([a-z-]+) ([\d.]+)", finding.evidence[1].partition("(")[2]))
    assert float(figures[order.value]) > 0.99 * max(
        float(figures["scratch"]), float(figures["flash-rtl"])
    )


@pytest.mark.parametrize("order", Order)
def test_an_order_that_the_file_names_is_believed(order: Order) -> None:
    with parsed(replace(VERSION_1, order=Order.SCRATCH)) as checkpoint:
        finding = find(checkpoint, (order,))
    said = f"the file says that it is the order {order.value}"
    assert finding == Finding((order,), (said,), settled=True, indifferent=False)


# fmt: off
EVIDENCE_OF_LORA = {
    "ggcl_1a5f0a30e_one_flash.bin": (
        "all zeros read in v lie in tok_embeddings.b in the order flash",
        "log v varies least in the order flash (flash 3.209, plain 3.354)"),
    "ggcl_1a5f0a30e_one_noflash.bin": (
        "all zeros read in v lie in tok_embeddings.b in the order plain",
        "log v varies least in the order plain (flash 3.349, plain 3.208)"),
    "ggcl_v1_adam_1a5f0a30e.bin": (
        "all zeros read in v lie in tok_embeddings.b in the order flash",
        "log v varies least in the order flash (flash 2.869, plain 8.356)"),
}
# fmt: on


@pytest.mark.parametrize("name", LORA)
def test_real_lora_files(name: str, fixtures: Path) -> None:
    with open_checkpoint(fixtures / name) as checkpoint:
        finding = find(checkpoint)
    assert finding.candidates == (Order(LORA[name]),)
    assert finding.evidence == EVIDENCE_OF_LORA[name]
    assert (finding.settled, finding.indifferent, finding.contradiction) == (True, False, False)


@pytest.mark.parametrize("name", LORA)
def test_the_variance_in_lora_files_is_that_of_numpy(name: str, fixtures: Path) -> None:
    checkpoint = reference.read(fixtures / name)
    v = checkpoint.optimizer.vectors["v"].astype(np.float64)
    figures = []
    for order in ("flash", "plain"):
        logs = [np.log(p[p > 0]) for p in llama.split(v, order, shapes(checkpoint)).values()]
        spread = sum(log.size * log.var() for log in logs if log.size)
        figures.append(f"{order} {spread / np.count_nonzero(v):.4g}")
    assert EVIDENCE_OF_LORA[name][1].endswith(f"({', '.join(figures)})")


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("kind", OptimizerType)
def test_synthetic_loras(order: Order, kind: OptimizerType) -> None:
    file = io.BytesIO()
    SyntheticLora(order=order, optimizer_type=kind, ranks={"wk": 0, "w1": 3}).write(file)
    with open_checkpoint(file) as checkpoint:
        assert find(checkpoint, FOUR).candidates == (order,)


def test_a_lora_without_elements() -> None:
    file = io.BytesIO()
    kinds = [member.name for member in Ranks.subcons]
    SyntheticLora(ranks=dict.fromkeys(kinds, 0)).write(file)
    with open_checkpoint(file) as checkpoint:
        finding = find(checkpoint)
    assert (finding.candidates, finding.indifferent) == ((Order.FLASH, Order.PLAIN), True)


def test_every_order_is_tested() -> None:
    assert sorted(order.value for order in Order) == sorted(ORDERS)
    assert {stored for stored, _rows in REAL.values()} == {order.value for order in ALL}
