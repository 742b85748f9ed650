"""One function for each command, from its options to its exit code."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from converter import terminal
from converter.carry_out import Writing, Written
from converter.convert import ResumeWith, decide
from converter.convert import convert as run_conversion
from converter.describe import plan_as_json, plan_as_text
from converter.terminal import say, say_json
from ggcp_schema import parse, printable
from ggcp_schema.order import Order


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
    resume_with = None
    if options.resume_with:
        resume_with = ResumeWith(
            Order(options.resume_with),
            Order(options.order) if options.order else None,
            options.batch,
        )
    if options.dry_run:
        with parse(options.input) as checkpoint:
            plan = decide(checkpoint, epsilon=options.eps, resume_with=resume_with)
            say_json(plan_as_json(plan)) if options.json else say(plan_as_text(plan))
        return 0
    written = run_conversion(
        options.input,
        options.output,
        epsilon=options.eps,
        resume_with=resume_with,
        writing=_writing(options),
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
