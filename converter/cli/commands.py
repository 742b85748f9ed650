"""One function for each command, from its options to its exit code.

Each loads what it needs: looking at a checkpoint does not take the gguf package.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from converter.cli import terminal
from converter.cli.developers import ranks
from converter.cli.grammar import NOT_COMPARED
from converter.cli.inspecting import inspect
from converter.cli.styles import Line, Role
from converter.cli.terminal import say, say_json, say_wrapped
from converter.progress import LOGGER
from ggcp_schema import printable
from ggcp_schema.order import Order

if TYPE_CHECKING:
    from converter.plan import Plan
    from converter.use_cases.carry_out import Writing, Written
    from converter.use_cases.export_options import FolderOptions
    from ggcp_schema.synthetic.base import SyntheticFile


def _writing(options: Namespace) -> Writing:
    from converter.use_cases.carry_out import Writing

    return Writing(
        force=options.force,
        sync=options.sync,
        verify=getattr(options, "verify", False),
        progress=terminal.bar,
    )


def _say_written(written: Written, options: Namespace) -> None:
    if getattr(options, "json", False):
        from converter.cli.describe import assumptions_as_json

        said = {"path": printable(written.path), "tensors": written.tensors}
        rest = written.choices or {"assumptions": assumptions_as_json(written.assumptions)}
        say_json({**said, "bytes": written.length, **rest})
    elif not options.quiet:
        say(f"{written.path}: {written.tensors} tensors, {written.length} bytes")
        if written.next:
            LOGGER.info("%s", written.next)


def _say_plan(plan: Plan, path: str | None, options: Namespace) -> None:
    from converter.cli.describe import plan_as_json, plan_as_text

    if path is not None:
        LOGGER.info("the file would be %s", path)
    say_json(plan_as_json(plan)) if options.json else say(*plan_as_text(plan).split("\n"))


def convert(options: Namespace) -> int:
    """Make a GGUF with which the GGUF trainers resume."""
    from converter.inputs import open_checkpoint
    from converter.use_cases.convert import ResumeWith, planned_conversion
    from converter.use_cases.convert import convert as run_conversion

    resume_with = None
    if options.resume_with:
        resume_with = ResumeWith(
            Order(options.resume_with),
            Order(options.order) if options.order else None,
            options.batch,
        )
    if options.dry_run:
        with open_checkpoint(options.input) as opened:
            snapshot = opened.snapshot()
            plan = planned_conversion(snapshot, epsilon=options.eps, resume_with=resume_with)
            _say_plan(plan, None, options)
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


def export(options: Namespace) -> int:
    """Make a GGUF that today's engines run, or a folder for PyTorch."""
    from converter.use_cases.export import export as run_export
    from converter.use_cases.export import prepared
    from converter.use_cases.export_options import ExportOptions, FolderOptions

    said: dict[str, Any] = {
        "vocabulary": options.vocab,
        "context_length": options.context_length,
        "epsilon": options.eps,
        "outtype": options.outtype,
        "model_name": options.model_name,
        "metadata": options.metadata,
        "rescue": options.rescue,
        "base": options.merge,
    }
    if options.format == "hf":
        order = Order(options.order) if options.order else None
        return _export_folder(FolderOptions(**said, batch=options.batch, order=order), options)
    chosen = ExportOptions(**said)
    if options.dry_run:
        with prepared(options.input, options.output, chosen) as work:
            _say_plan(work.plan, work.path, options)
        return 0
    written = run_export(options.input, options.output, chosen, writing=_writing(options))
    _say_written(written, options)
    return 0


def _export_folder(chosen: FolderOptions, options: Namespace) -> int:
    from converter.cli.describe import folder_plan_as_json, folder_plan_as_text
    from converter.use_cases.export_folder import export_folder, opened_inputs, planned_folder

    if options.dry_run:
        with opened_inputs(options.input, chosen) as inputs:
            plan = planned_folder(inputs, chosen)
            say_json(folder_plan_as_json(plan)) if options.json else say(*folder_plan_as_text(plan))
        return 0
    written = export_folder(options.input, options.output, chosen, writing=_writing(options))
    _say_written(written, options)
    return 0


_FIRST_DIFFERENCES = 5
"""As many are shown at first: one wrong option makes many, all of which say the same."""


def verify(options: Namespace) -> int:
    """Compare a GGUF with the checkpoint it was made from."""
    from converter.cli.describe import comparison_as_json, headline
    from converter.use_cases.verify import compare

    found = compare(options.input, options.output, base=options.merge, progress=terminal.bar)
    if options.json:
        say_json(comparison_as_json(found))
    elif found.differing:
        say_wrapped(f"{options.output}: {headline(found)}", role=Role.HEADING)
        shown = found.lines if options.verbose else found.lines[:_FIRST_DIFFERENCES]
        for line in shown:
            say_wrapped(line, indent="  ")
        more = found.differing.total() - len(shown)
        if more and not options.verbose:
            say(Line(f"  and {more} more; --verbose shows them", Role.DETAIL))
    elif not options.quiet:
        say(f"{options.output}: the same as {options.input}")
    LOGGER.debug("not compared: %s", NOT_COMPARED)
    return 1 if found.differing else 0


def synth(options: Namespace) -> int:
    """Write a synthetic checkpoint."""
    from converter.disk.output import write_whole

    length = write_whole(
        options.output,
        _synthetic(options).write,
        force=options.force,
        sync=options.sync,
        progress=terminal.bar,
    )
    if not options.quiet:
        say(f"{options.output}: {length} bytes")
    return 0


def _synthetic(options: Namespace) -> SyntheticFile:
    from ggcp_schema.enums import OptimizerType
    from ggcp_schema.synthetic import Synthetic, SyntheticAdapter, SyntheticLora, SyntheticMagicless
    from ggcp_schema.synthetic.lora import DEFAULT_RANK, NORMS

    sizes: dict[str, Any] = {
        "vocabulary_size": options.n_vocab,
        "embedding_length": options.n_embd,
        "feed_forward_multiple": None if options.without_n_mult else options.n_mult,
        "head_count": options.n_head,
        "block_count": options.n_layer,
        "rope_dimension_count": options.n_rot,
        "seed": options.seed,
    }
    if options.magicless:
        return SyntheticMagicless(**sizes)
    state: dict[str, Any] = {
        "optimizer_type": OptimizerType[options.optimizer.upper()],
        "convergence_past_count": options.past,
        "approx_hessian_count": options.lbfgs_m,
    }
    pairs: dict[str, Any] = {
        "feed_forward_length": 96 if options.n_ff is None else options.n_ff,
        "ranks": ranks(options, DEFAULT_RANK, NORMS),
    }
    if options.adapter:
        rank = DEFAULT_RANK if options.rank is None else options.rank
        alpha = rank if options.lora_alpha is None else options.lora_alpha
        return SyntheticAdapter(**sizes, **pairs, lora_r=rank, lora_alpha=alpha)
    if options.lora:
        return SyntheticLora(**sizes, **state, **pairs, order=Order(options.order or "flash"))
    return Synthetic(
        **sizes,
        **state,
        optimizer_version=options.optimizer_version,
        with_params=options.with_params,
        order=Order(options.order or "scratch"),
        unseen_token_count=options.unseen or 0,
    )


def document(options: Namespace) -> int:
    """Write the documentation of the format, or check that a copy of it is up to date."""
    from converter.disk.output import write_whole
    from ggcp_schema.document import differences
    from ggcp_schema.document import document as generate

    if options.check is not None:
        found = differences(options.check, options.format)
        for line in found:
            say(line)
        return 1 if found else 0
    text = generate(options.format)
    if options.output is None:
        say(*text.removesuffix("\n").split("\n"))
        return 0
    length = write_whole(
        options.output,
        lambda file: file.write(text.encode()),
        force=options.force,
        sync=options.sync,
        progress=terminal.bar,
    )
    if not options.quiet:
        say(f"{options.output}: {length} bytes")
    return 0


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "convert": convert,
    "export": export,
    "inspect": inspect,
    "verify": verify,
    "synth": synth,
    "document": document,
}
