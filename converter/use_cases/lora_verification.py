"""The use case: compare an adapter or a merged model with the LoRA checkpoint it was made from."""

from __future__ import annotations

import contextlib
import os

from gguf import MODEL_TENSOR, TENSOR_NAMES, GGUFType, Keys

from converter.cli.lora_arguments import ADAPTER_OUTTYPES, LORA_MAGIC
from converter.errors import ConversionError
from converter.gguf_io.comparison import as_made_by_its_version, differences
from converter.gguf_io.reader import Gguf
from converter.numeric.encode import OUTTYPES
from converter.progress import Progress
from converter.use_cases.lora_export import planned
from ggcp_schema import Source

Name = str | os.PathLike[str]

_TOKEN_EMBEDDINGS = TENSOR_NAMES[MODEL_TENSOR.TOKEN_EMBD] + ".weight"


def is_lora_export(source: Name, made: Gguf, base: Name | None) -> bool:
    """Tell whether a GGUF is to be compared here: not if it was converted, or is no LoRA's.

    Raises:
        FormatError: the checkpoint cannot be opened.
    """
    with Source.open(source) as file:
        lora = file.read(4) == LORA_MAGIC
    return base is not None or (lora and (_is_adapter(made) or _is_model(made)))


def verify_lora(
    source: Name, path: Name, made: Gguf, base: Name | None, progress: Progress
) -> list[str]:
    """Return one line for each difference; the type of the tensors is taken as the GGUF says.

    Raises:
        FormatError: a file is damaged, or the base model does not fit.
        ConversionError: it is a merged model and the base is not named, or the other way round.
    """
    if _is_model(made) != (base is not None):
        raise ConversionError(
            path,
            expected="a merged model to go with --merge" if base else "the base model with it",
            found="none" if base else "a merged model alone",
            hint="leave --merge out" if base else "name the base model with --merge BASE.gguf",
        )
    outtype = _outtype(source, made, base)
    with planned(source, base=base, outtype=outtype, quiet=True) as work:
        with progress("Verifying", work.plan.length) as count:
            plan = as_made_by_its_version(work.plan, made)
            found = list(differences(plan, made, count))
        for file in work.sources:
            file.check_unchanged()
    return found


def _is_adapter(made: Gguf) -> bool:
    return bool(made.value(Keys.General.TYPE) == GGUFType.ADAPTER)


def _is_model(made: Gguf) -> bool:
    return _TOKEN_EMBEDDINGS in made.tensors


def _outtype(source: Name, made: Gguf, base: Name | None) -> str | None:
    """Return the ``--outtype`` with which the GGUF was made; None for none."""
    file_type = made.value(Keys.General.FILE_TYPE)
    names = [name for name, outtype in OUTTYPES.items() if outtype.file_type == file_type]
    if base is None:
        return next((name for name in names if name in ADAPTER_OUTTYPES), None)
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(planned(source, base=base, quiet=True)).plan
        types = {tensor.name: tensor.type for tensor in made.tensors.values()}
        as_base = all(types.get(tensor.name, tensor.type) == tensor.type for tensor in plan.tensors)
        same_word = any(
            item.key == Keys.General.FILE_TYPE and item.value == file_type for item in plan.metadata
        )
        return None if as_base and same_word else next(iter(names), None)
