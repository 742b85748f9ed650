"""One function for each command, from its options to its exit code."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from converter import terminal
from converter.carry_out import Writing, Written
from converter.convert import DEFAULT_EPSILON, plan_conversion
from converter.convert import convert as run_conversion
from converter.describe import plan_as_json, plan_as_text
from converter.terminal import say, say_json
from ggcp_schema import parse, printable


def _writing(options: Namespace) -> Writing:
    return Writing(
        force=options.force,
        sync=options.sync,
        verify=getattr(options, "verify", False),
        progress=terminal.bar,
    )


def _say_written(written: Written, options: Namespace) -> None:
    if getattr(options, "json", False):
        say_json(
            {"path": printable(written.path), "tensors": written.tensors, "bytes": written.length}
        )
    elif not options.quiet:
        say(f"{printable(written.path)}: {written.tensors} tensors, {written.length} bytes")


def convert(options: Namespace) -> int:
    """Make a GGUF with which the GGUF trainers resume."""
    epsilon = DEFAULT_EPSILON if options.eps is None else options.eps
    if options.dry_run:
        with parse(options.input) as checkpoint:
            plan = plan_conversion(checkpoint, epsilon=epsilon)
            say_json(plan_as_json(plan)) if options.json else say(plan_as_text(plan))
        return 0
    written = run_conversion(
        options.input, options.output, epsilon=epsilon, writing=_writing(options)
    )
    _say_written(written, options)
    return 0


def verify(options: Namespace) -> int:
    """Compare a GGUF with the checkpoint it was made from."""
    from converter.check import check

    found = check(options.input, options.output, progress=terminal.bar)
    if options.json:
        say_json({"same": not found, "differences": found})
    else:
        for difference in found:
            say(f"{printable(options.output)}: {difference}")
        if not found and not options.quiet:
            say(f"{printable(options.output)}: the same as {printable(options.input)}")
    return 1 if found else 0


def synth(options: Namespace) -> int:
    """Write a synthetic checkpoint."""
    from converter.output import Output
    from ggcp_schema.optimizer import OptimizerType
    from ggcp_schema.order import Order
    from ggcp_schema.synthetic import Synthetic

    made = Synthetic(
        vocabulary_size=options.n_vocab,
        embedding_length=options.n_embd,
        feed_forward_multiple=options.n_mult,
        head_count=options.n_head,
        block_count=options.n_layer,
        rope_dimension_count=options.n_rot,
        optimizer_type=OptimizerType[options.optimizer.upper()],
        optimizer_version=options.optimizer_version,
        with_params=options.with_params,
        convergence_past_count=options.past,
        approx_hessian_count=options.lbfgs_m,
        order=Order(options.order),
        unseen_token_count=options.unseen,
        seed=options.seed,
    )
    with Output(options.output, force=options.force, sync=options.sync) as output:
        with open(output.descriptor, "wb", closefd=False) as file:
            made.write(file)
            length = file.tell()
        output.commit()
    if not options.quiet:
        say(f"{printable(options.output)}: {length} bytes")
    return 0


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "convert": convert,
    "verify": verify,
    "synth": synth,
}
