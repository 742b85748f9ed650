"""Each fact that a checkpoint must keep to: one wrong field, and the whole message."""

import io
import struct

import pytest
from packed import Packed, checkpoint

from ggcp_schema import FormatError, parse

ADAM_0 = checkpoint(0)
LBFGS_0 = checkpoint(0, "lbfgs", past=3)
ADAM_1 = checkpoint(1, past=3)
LBFGS_1 = checkpoint(1, "lbfgs")
PARAMS_1 = checkpoint(1, with_params=True)
FOUR_WIDE = checkpoint(n_embd=4, n_head=2)
ONE_LAYER = checkpoint(n_layer=1)

DAMAGED = "the file is damaged, or not what its first bytes say; look for another copy"
COUNTS = "by the counts before it in the file"
ELEMENTS = "the elements of the model's tensors"
VECTOR = "optimizer.state.first_moments"


def refused(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse(io.BytesIO(data))
    return caught.value


@pytest.mark.parametrize(
    ("whole", "path", "number", "expected", "found"),
    [
        # versions and types
        (ADAM_0, "version", 1, "0", "1"),
        (ADAM_0, "optimizer.version", 2, "0 or 1", "2"),
        (ADAM_0, "optimizer.version", -1, "0 or 1", "4294967295"),
        (ADAM_0, "optimizer.params.type", 2, "0 (Adam) or 1 (L-BFGS)", "2"),
        (PARAMS_1, "optimizer.params.type", -1, "0 (Adam) or 1 (L-BFGS)", "4294967295"),
        # hyperparameters
        (ADAM_0, "hyperparameters.vocabulary_size", 0, "at least 1", "0"),
        (ADAM_0, "hyperparameters.embedding_length", 0, "at least 1", "0"),
        (ADAM_0, "hyperparameters.feed_forward_multiple", 0, "at least 1", "0"),
        (ADAM_0, "hyperparameters.head_count", 0, "at least 1", "0"),
        (FOUR_WIDE, "hyperparameters.head_count", 3, "a divisor of 4 (embedding_length)", "3"),
        *(
            (
                FOUR_WIDE,
                "hyperparameters.rope_dimension_count",
                wrong,
                "an even number from 2 to 4 / 2 (the head dimension)",
                str(wrong),
            )
            for wrong in (0, 1, 3, 4)
        ),
        # records
        (ADAM_0, "model.tok_embeddings.n_dims", 1, "2", "1"),
        (ADAM_0, "model.norm.n_dims", 0, "1", "0"),
        (ADAM_0, "model.output.name_length", 12, "13 ('output.weight')", "12"),
        (ADAM_0, "model.output.name_length", 14, "13 ('output.weight')", "14"),
        (ADAM_0, "model.norm.type", 1, "0 (F32)", "1"),
        (ONE_LAYER, "model.layers[0].attention.wv.type", 2, "0 (F32)", "2"),
        (ONE_LAYER, "model.layers[0].ffn_norm.shape", 3, f"[2] ({COUNTS})", "[3]"),
        (ADAM_0, f"{VECTOR}.n_dims", 0, "1", "0"),
        (ADAM_0, f"{VECTOR}.name_length", 1, "0 (no name)", "1"),
        (ADAM_0, f"{VECTOR}.type", 8, "0 (F32)", "8"),
        (ADAM_0, f"{VECTOR}.shape", 11, f"[10] ({COUNTS})", "[11]"),
        (ADAM_0, "optimizer.state.past_loss_values.n_dims", 1, "0", "1"),
        (LBFGS_0, "optimizer.state.past_loss_values.shape", 4, f"[3] ({COUNTS})", "[4]"),
        (LBFGS_0, "optimizer.state.memory_ys.shape", 3, f"[2] ({COUNTS})", "[3]"),
        # counters
        (LBFGS_0, "optimizer.params.convergence_past_count", -1, "0 or more", "-1"),
        (ADAM_1, "optimizer.convergence_past_count", -3, "0 or more", "-3"),
        (ADAM_0, "optimizer.params.lbfgs.approx_hessian_count", -1, "0 or more", "-1"),
        (LBFGS_0, "optimizer.params.lbfgs.approx_hessian_count", 0, "at least 1 with L-BFGS", "0"),
        (LBFGS_1, "optimizer.approx_hessian_count", -6, "0 or more", "-6"),
        (ADAM_0, "optimizer.iteration_count", -1, "0 or more", "-1"),
        (LBFGS_1, "optimizer.iteration_count", -2, "0 or more", "-2"),
        (ADAM_0, "optimizer.state.no_improvement_count", -1, "0 or more", "-1"),
        (LBFGS_0, "optimizer.state.no_improvement_count", -1, "0 or more", "-1"),
    ],
)
def test_a_wrong_number(whole: Packed, path: str, number: int, expected: str, found: str) -> None:
    offset = whole.fields[path][0]
    assert str(refused(whole.with_number(path, number))) == (
        f"{path} at offset {offset:#x}: expected {expected}, found {found}; {DAMAGED}"
    )


@pytest.mark.parametrize(
    ("whole", "path", "data", "expected", "found"),
    [
        (
            ADAM_0,
            "model.tok_embeddings.shape",
            struct.pack("<II", 2, 3),
            f"[2, 2] ({COUNTS})",
            "[2, 3]",
        ),
        (
            ONE_LAYER,
            "model.layers[0].feed_forward.w2.shape",
            struct.pack("<II", 2, 6),
            f"[6, 2] ({COUNTS})",
            "[2, 6]",
        ),
        (ADAM_0, "model.norm.name", b"norm.weighs", "'norm.weight'", "'norm.weighs'"),
        (ADAM_0, "model.norm.name", b"norm\n\x1b\xff\0ght", "'norm.weight'", None),
        (
            ONE_LAYER,
            "model.layers[0].attention.wk.name",
            b"layers.1.attention.wk.weight",
            "'layers.0.attention.wk.weight'",
            "'layers.1.attention.wk.weight'",
        ),
        (
            LBFGS_0,
            "optimizer.parameter_count",
            struct.pack("<q", 11),
            f"10 ({ELEMENTS})",
            "11",
        ),
        (
            PARAMS_1,
            "optimizer.state.second_moments.shape",
            struct.pack("<I", 2**32 - 1),
            f"[10] ({COUNTS})",
            "[4294967295]",
        ),
    ],
)
def test_wrong_bytes(
    whole: Packed, path: str, data: bytes, expected: str, found: str | None
) -> None:
    offset = whole.fields[path][0]
    shown = repr(data)[1:] if found is None else found
    assert str(refused(whole.with_field(path, data))) == (
        f"{path} at offset {offset:#x}: expected {expected}, found {shown}; {DAMAGED}"
    )


@pytest.mark.parametrize(
    "whole", [checkpoint(1, n_vocab=5), checkpoint(1, n_vocab=5, with_params=True)]
)
def test_version_1_with_the_parameter_count_in_neither_place(whole: Packed) -> None:
    data = whole.with_field("optimizer.parameter_count", struct.pack("<q", -4))
    start = whole.fields["optimizer.version"][0]
    there, beyond = (struct.unpack_from("<q", data, start + place)[0] for place in (12, 100))
    assert -4 in (there, beyond)
    assert 22 not in (there, beyond)
    assert str(refused(data)) == (
        f"optimizer.parameter_count at offset {start + 12:#x}: expected 22 ({ELEMENTS}), found "
        f"{there}, and {beyond} in the other place where it may stand (+88); {DAMAGED}"
    )


def test_version_1_of_l_bfgs_without_corrections() -> None:
    """The records are those of L-BFGS, which cannot be without any."""
    data = LBFGS_1.with_number("optimizer.approx_hessian_count", 0)
    offset = LBFGS_1.fields["optimizer.state.current_parameters.n_dims"][0]
    assert str(refused(data)) == (
        f"optimizer.type at offset {offset:#x}: expected 0 (Adam) where approx_hessian_count is 0, "
        f"found 1; {DAMAGED}"
    )


def test_no_layers_at_all_is_legal() -> None:
    with parse(io.BytesIO(bytes(ADAM_0.data))) as checkpoint_:
        assert checkpoint_.model.layers == []


@pytest.mark.parametrize("rope_dimension_count", [2, 4, 6])
def test_rope_dimensions_that_rotmax_may_have_set(rope_dimension_count: int) -> None:
    file = checkpoint(n_embd=12, n_head=2, n_rot=rope_dimension_count)
    with parse(io.BytesIO(bytes(file.data))) as checkpoint_:
        assert checkpoint_.hyperparameters.rope_dimension_count == rope_dimension_count


def test_an_error_survives_the_way_between_processes() -> None:
    import pickle

    error = refused(ADAM_0.with_number("version", 1))
    error.file = "checkpoint.bin"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is FormatError
    assert str(copy) == str(error)
    assert str(copy).startswith("checkpoint.bin: version at offset 0x4: ")
