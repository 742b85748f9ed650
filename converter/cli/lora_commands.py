"""What the commands do with LoRA checkpoints, from options to exit code."""

from __future__ import annotations

from argparse import Namespace

from converter.cli.describe import plan_as_json, plan_as_text
from converter.cli.lora_arguments import ranks
from converter.cli.terminal import say, say_json
from converter.progress import LOGGER
from converter.use_cases.carry_out import Writing, Written
from converter.use_cases.lora_export import planned
from ggcp_schema import printable
from ggcp_schema.enums import OptimizerType
from ggcp_schema.synthetic.lora import DEFAULT_RANK, NORMS, SyntheticLora


def export(options: Namespace, writing: Writing) -> Written | None:
    """Make an adapter or a merged model; None if nothing was to be written."""
    with planned(options.input, base=options.merge, outtype=options.outtype) as work:
        path = work.path(options.output)
        if options.dry_run:
            LOGGER.info("the file would be %s", printable(path))
            say_json(plan_as_json(work.plan)) if options.json else say(plan_as_text(work.plan))
            return None
        return work.write(path, writing)


def synthetic(options: Namespace) -> SyntheticLora:
    """Return the synthetic LoRA checkpoint that the options describe."""
    return SyntheticLora(
        vocabulary_size=options.n_vocab,
        embedding_length=options.n_embd,
        feed_forward_multiple=None if options.without_n_mult else options.n_mult,
        feed_forward_length=96 if options.n_ff is None else options.n_ff,
        head_count=options.n_head,
        block_count=options.n_layer,
        rope_dimension_count=options.n_rot,
        ranks=ranks(options, DEFAULT_RANK, NORMS),
        optimizer_type=OptimizerType[options.optimizer.upper()],
        convergence_past_count=options.past,
        approx_hessian_count=options.lbfgs_m,
        seed=options.seed,
    )
