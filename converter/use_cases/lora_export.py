"""The use case: a LoRA checkpoint becomes an adapter, or a merged model, for today's llama.cpp."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFValueType, Keys

from converter.cli.lora_arguments import ADAPTER_OUTTYPES
from converter.errors import ConversionError
from converter.gguf_io.reader import read_gguf
from converter.layouts.adapter import adapter_plan, require_pairs, tell_of_norms
from converter.layouts.general import output_path
from converter.layouts.lora_trainer import is_lora
from converter.layouts.merged import merge_plan
from converter.numeric.encode import OUTTYPES
from converter.plan import Metadata, Plan
from converter.use_cases.carry_out import Writing, Written, carry_out
from converter.use_cases.not_finite import tell_what_is_not_finite
from ggcp_schema import Checkpoint, Source, parse, printable
from ggcp_schema.tensor import element_count

Name = str | os.PathLike[str]

_DAMAGED = "the file is damaged, or not a model that this program can read; give another copy"
_OTHER = "give the base model as a GGUF; llama.cpp's converters make one of older or other files"


@dataclass(frozen=True)
class Planned:
    """A plan with the open files that it reads.

    Attributes:
        plan: what is to be written.
        sources: the checkpoint, and behind it the base model if there is one.
        inputs: names of the files.
    """

    plan: Plan
    sources: tuple[Source, ...]
    inputs: tuple[Name, ...]

    def path(self, given: Name) -> str:
        """Return the name of the file to write; a folder, or a name with ``{ftype}``, is filled in.

        In a folder the file is named after the checkpoint, the number of elements and their type.
        """
        stem = printable(Path(os.fspath(self.inputs[0])).stem)
        kinds = [tensor.type for tensor in self.plan.tensors if len(tensor.shape) > 1]
        most = max(OUTTYPES.values(), key=lambda outtype: kinds.count(outtype.type))
        name = Metadata(Keys.General.NAME, GGUFValueType.STRING, stem)
        count = sum(element_count(tensor.shape) for tensor in self.plan.tensors)
        return output_path(given, (name,), count, most)

    def write(self, path: Name, writing: Writing) -> Written:
        """Write the plan, whole or not at all, and tell the user of values that are not finite.

        Raises:
            ConversionError: the file cannot be written.
            FormatError: one of the files was cut or written to in the meantime.
        """
        *others, source = self.sources
        written = carry_out(
            self.plan, source, path, writing, inputs=self.inputs, others=tuple(others)
        )
        tell_what_is_not_finite(self.plan, "the input")
        return written


@contextlib.contextmanager
def planned(
    source: Name, *, base: Name | None = None, outtype: str | None = None, quiet: bool = False
) -> Iterator[Planned]:
    """Plan an adapter, or with ``base`` a merged model, and keep the files open.

    Args:
        source: the LoRA checkpoint.
        base: the model that it was trained on, a GGUF; None for an adapter.
        outtype: ``f32`` or ``f16``, for a merged model also ``bf16`` or ``q8_0``; None for F32, and
            for a merged model for the types of the base.
        quiet: whether the user is not told what the result leaves out.

    Raises:
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the checkpoint is none of finetune, or the type cannot be written.
    """
    with parse(source) as checkpoint, contextlib.ExitStack() as stack:
        _require_lora(checkpoint, source)
        known = ADAPTER_OUTTYPES if base is None else tuple(OUTTYPES)
        if outtype is not None and outtype not in known:
            raise ConversionError(
                source,
                expected=f"--outtype {' or '.join(known)} for "
                + ("an adapter" if base is None else "a merged model"),
                found=outtype,
                hint="give one of these, or leave --outtype out",
            )
        if base is None:
            plan = adapter_plan(checkpoint.container, outtype=outtype or "f32")
            require_pairs(plan, os.fspath(source))
            if not quiet:
                tell_of_norms(checkpoint.container)
            yield Planned(plan, (checkpoint.source,), (source,))
            return
        base_source = stack.enter_context(Source.open(base))
        model = read_gguf(base_source, damaged=_DAMAGED, other=_OTHER)
        plan = merge_plan(checkpoint.container, model, outtype=outtype)
        yield Planned(plan, (checkpoint.source, base_source), (source, base))


def export_lora(
    source: Name,
    path: Name,
    *,
    base: Name | None = None,
    outtype: str | None = None,
    writing: Writing | None = None,
) -> Written:
    """Write an adapter, or with ``base`` a merged model; see ``planned``.

    Raises:
        FormatError: a file cannot be read or is damaged, or the base does not fit.
        ConversionError: the checkpoint is none of finetune, or the output cannot be written.
    """
    with planned(source, base=base, outtype=outtype) as work:
        return work.write(path, writing or Writing())


def _require_lora(checkpoint: Checkpoint, source: Name) -> None:
    if not is_lora(checkpoint.container):
        raise ConversionError(
            source,
            expected="a LoRA checkpoint (ggcl), as finetune wrote them",
            found="a training checkpoint (ggcp), which is a whole model",
            hint="export it without --merge",
        )
