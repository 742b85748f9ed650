"""The use case: compare a Hugging Face folder with what its checkpoint becomes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from converter.disk.checking import read_manifest, statuses
from converter.disk.folder import Folder
from converter.disk.identity import Digest
from converter.disk.manifest import MANIFEST, Listed, Manifest
from converter.errors import ConversionError
from converter.gguf_io.comparison import Difference, Subject
from converter.gguf_io.reader import Gguf, shown_name
from converter.hf_io.comparison import content_differences, value_differences
from converter.inputs import Opened, open_checkpoint
from converter.layouts.folder import (
    Choices,
    Tokenizer,
    folder_plan,
    says_rescued,
    says_tokenizer,
    stored_choices,
    stored_resumption,
    tokenizer_of,
)
from converter.layouts.merged import read_base
from converter.plan import FolderPlan, PlannedFile
from converter.progress import Progress
from converter.resume.decide import contradictions
from converter.snapshot import Snapshot
from converter.use_cases.comparison import Comparison, counted, require_base_where_merged
from converter.use_cases.export import require_lora
from converter.use_cases.export_folder import state_of, whole_model
from converter.use_cases.export_options import Name
from converter.vocabulary.reading import read_vocabulary
from ggcp_schema import FormatError, Source
from ggcp_schema.enums import OptimizerType
from ggcp_schema.language.errors import reason

_VOCABULARY = "tokenizer.model"

_SUBJECTS = {"model.safetensors": Subject.WEIGHTS, "optimizer.pt": Subject.OPTIMIZER}
"""What the files with tensors are about."""


def compare_folder(source: Name, path: Name, base: Name | None, progress: Progress) -> Comparison:
    """Compare a folder with what its checkpoint becomes.

    What the checkpoint does not hold is taken as ggcp.json says; a vocabulary that is not in the
    checkpoint as the folder's tokenizer.model.

    Raises:
        FormatError: a file is damaged, or the base does not fit.
        ConversionError: a merged model is given without its base, or a base with something else.
    """
    with contextlib.ExitStack() as stack:
        folder = Folder(os.fspath(path))
        stack.callback(folder.release)
        try:
            folder.hold()
            manifest = read_manifest(folder)
            found = set(statuses(folder, manifest))
        except OSError as error:
            raise FormatError(
                file=os.fspath(path),
                expected="a folder to read",
                found=reason(error),
                hint="give a folder that ggcp wrote",
            ) from error
        choices = stored_choices(manifest.choices, folder.path_of(MANIFEST))
        require_base_where_merged(path, base, merged=choices.merged)
        opened = stack.enter_context(open_checkpoint(source))
        model: Gguf | None = None
        if base is not None:
            require_lora(opened, source)
            model = read_base(stack.enter_context(Source.open(base)))
        snapshot = _model(opened, model, manifest)
        own = says_tokenizer(manifest.choices)
        if own is not None:
            choices = replace(choices, tokenizer=_tokenizer(snapshot, folder, own=own))
        plan, contradicted = _expected(snapshot, choices)
        with progress("Verifying", plan.length) as count:
            contradicting = (Difference(Subject.KEY, words) for words in contradicted)
            different = chain(contradicting, _differences(plan, folder, manifest, found, count))
            things = len(plan.choices) + len(plan.files) + len(plan.tensors)
            comparison = counted(different, things)
        opened.source.check_unchanged()
        if model is not None:
            model.source.check_unchanged()
    return comparison


def _model(opened: Opened, base: Gguf | None, manifest: Manifest) -> Snapshot:
    if opened.lora and base is None:
        raise ConversionError(
            opened.source.label or "checkpoint",
            expected="a checkpoint that holds a whole model",
            found="a LoRA",
            hint="the folder was not made from this file; give the one that it was made from",
        )
    return whole_model(opened, base, rescue=says_rescued(manifest.choices))


def _tokenizer(snapshot: Snapshot, folder: Folder, *, own: bool) -> Tokenizer | None:
    """Return the tokenizer of the checkpoint, or else of the folder's own vocabulary."""
    if own:
        metadata = snapshot.vocabulary
        return None if metadata is None else tokenizer_of(metadata, snapshot.file, own=True)
    count = snapshot.hyperparameters.vocabulary_size
    path = folder.path_of(_VOCABULARY)
    with Source.open(path) as source:
        return tokenizer_of(read_vocabulary(source, token_count=count).metadata, path, own=False)


def _expected(snapshot: Snapshot, choices: Choices) -> tuple[FolderPlan, Iterator[str]]:
    resumption = stored_resumption(choices)
    optimizer = snapshot.optimizer
    if resumption is None or optimizer is None or optimizer.type is not OptimizerType.ADAM:
        return folder_plan(snapshot, choices, None), iter(())
    state = state_of(snapshot, resumption, choices.batch)
    return folder_plan(snapshot, choices, state), contradictions(snapshot, resumption)


def _differences(
    plan: FolderPlan,
    folder: Folder,
    manifest: Manifest,
    found: set[str],
    progress: Callable[[int], object],
) -> Iterator[Difference]:
    names = {file.name for file in plan.files}
    planned = {**plan.choices, "version": manifest.choices.get("version")}
    for line in value_differences(planned, manifest.choices):
        yield Difference(Subject.KEY, f"{MANIFEST}: {line}")
    for name in sorted({*found, *manifest.files} - names - {MANIFEST}):
        yield Difference(Subject.MEMBER, f"{shown_name(name)}: not expected")
    for file in plan.files:
        if file.name not in found:
            yield Difference(Subject.MEMBER, f"{file.name}: missing")
            continue
        subject = _SUBJECTS.get(file.name, Subject.MEMBER)
        for words in _file_differences(file, folder, manifest, progress):
            yield Difference(subject, words)


def _file_differences(
    file: PlannedFile, folder: Folder, manifest: Manifest, progress: Callable[[int], object]
) -> Iterator[str]:
    with Source.open(folder.path_of(file.name)) as source, Digest() as digest:
        differing = list(content_differences(file, source, progress, digest.give))
        yield from differing
        listed = None if differing else Listed(source.size, digest.hexdigest())
        source.check_unchanged()
    if listed is not None and manifest.files.get(file.name) != listed:
        yield f"{MANIFEST}: files[{file.name}]: another size or hash than that of the file"
