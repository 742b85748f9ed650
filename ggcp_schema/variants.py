"""What a file does not store, and how it is told by looking at the bytes that follow."""

from __future__ import annotations

import math
import struct
from collections.abc import Hashable, Mapping
from typing import Any

from construct import Construct, Container

from ggcp_schema.enums import HeaderLayout, Layout, NameFamily, OptimizerType
from ggcp_schema.language.checks import ANOTHER, CUT, DAMAGED, chosen, shown
from ggcp_schema.language.constructs import Described, Member
from ggcp_schema.language.errors import FormatError
from ggcp_schema.language.fields import Struct
from ggcp_schema.language.runs import End, read
from ggcp_schema.tensor import F32_TYPE


class LookAhead(Described, Construct):  # type: ignore[misc]
    """A value that takes no bytes: parsing looks at those that follow, and goes back.

    Attributes:
        docs: how the value is told, for the documentation.
    """

    size: int | None = 0
    stored = False

    def __init__(self, docs: str) -> None:
        super().__init__()
        self.docs = docs

    def _look(self, stream: Any, context: Any) -> Any:
        """Return the value; the stream may be left anywhere."""
        raise NotImplementedError

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        offset = stream.tell()
        try:
            return self._look(stream, context)
        finally:
            stream.seek(offset)


def _contradiction(structure: Struct, stream: Any, context: Any) -> float:
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


class TypeByRecords(LookAhead):
    """The optimizer's type, told by which candidate's records end with the file.

    Where none does, the one that fits further is taken, and parsing it says what is wrong.

    Attributes:
        states: the candidates.
    """

    def __init__(self, states: Mapping[OptimizerType, Struct]) -> None:
        super().__init__(
            "Not stored. Follow the structure of each candidate up to its end, which takes nothing "
            "but the counts (every record's length follows from its shape): the right one ends "
            "exactly where the file ends. With the same counts L-BFGS takes more bytes than Adam, "
            "always, so at most one does. If none does, the file is damaged: reject it, and name "
            "what is wrong in the candidate that fits further."
        )
        self.states = states
        self.ahead = tuple(states.values())

    def _look(self, stream: Any, context: Any) -> int:
        # Every trainer stored m = 0 with Adam: where both fit as far, m says which is meant.
        likely = OptimizerType.LBFGS if context["approx_hessian_count"] else OptimizerType.ADAM
        candidates = sorted(self.states, key=lambda kind: kind is not likely)
        return int(max(candidates, key=lambda k: _contradiction(self.states[k], stream, context)))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        _require_number(obj, stream.tell())


class LayoutByParameterCount(LookAhead):
    """One of the layouts of the optimizer context, which follows at once.

    Layouts are told apart by the version, those of one version by where the parameter count stands.

    Attributes:
        cases: the layouts.
        versions: what the first field says in each.
        parameter_count_offsets: where the parameter count stands, in layouts that share a version.
    """

    size = None
    stored = True

    def __init__(self, cases: Mapping[Layout, Struct]) -> None:
        self.cases: Mapping[Layout, Struct] = cases
        self.children = tuple(cases.values())
        self.versions = {layout: case.version.derived for layout, case in cases.items()}
        versions = tuple(self.versions.values())
        self.parameter_count_offsets = {
            layout: case.offsets()["parameter_count"]
            for layout, case in cases.items()
            if versions.count(self.versions[layout]) > 1
        }
        first, second = self.parameter_count_offsets.values()
        self._head_length = max(first, second) + 8
        super().__init__(
            "``version``, the first u32: 0 is version 0, 1 is either of the others; any other "
            "value: reject. Version 1 and version 1 with params are told apart by where "
            f"``parameter_count``, known from the model, stands as an i64: {first} bytes from the "
            f"start of the optimizer context, or {second} with params. If it stands in neither "
            "place, reject, and name ``parameter_count``. If in both, as by chance in some tiny "
            "models, the right layout is the one whose whole structure (for version 1, with either "
            "type) ends where the file ends; should both, which no trainer's file does, it is "
            "version 1. If neither does, reject."
        )

    def members(self, value: Mapping[str, Any]) -> list[Member]:
        """Return the fields of the layout that was found; none before it was."""
        layout = value.get("layout")
        return self.cases[layout].members(value) if layout else []

    def _look(self, stream: Any, context: Any) -> Layout:
        offset = stream.tell()
        head = stream.read(self._head_length)
        stream.seek(offset)
        if len(head) < 4:
            return next(iter(self.cases))  # whose first field says that the file ends there
        (version,) = struct.unpack_from("<L", head)
        candidates = self._of_version(version, offset, DAMAGED)
        if len(candidates) == 1:
            return candidates[0]
        count = struct.pack("<q", context["parameter_count"])
        places = self.parameter_count_offsets.items()
        found: list[Layout] = [key for key, place in places if head[place : place + 8] == count]
        if len(found) > 1:
            whole = (k for k in found if _contradiction(self.cases[k], stream, context) == math.inf)
            return next(whole, found[0])
        if found:
            return found[0]
        if len(head) < self._head_length:
            raise FormatError(
                offset=offset,
                expected=f"{self._head_length} bytes of an optimizer context",
                found=f"{len(head)} bytes and the end of the file",
                hint=CUT,
            )
        first, second = self.parameter_count_offsets.values()
        there, beyond = (struct.unpack_from("<q", head, place)[0] for place in (first, second))
        raise FormatError(
            path="parameter_count",
            offset=offset + first,
            expected=f"{context['parameter_count']} (the elements of the model's tensors)",
            found=f"{there}, and {beyond} in the other place where it may stand "
            f"(+{second - first})",
            hint=DAMAGED,
        )

    def _of_version(self, version: Any, offset: int, hint: str) -> list[Layout]:
        known = self.versions if isinstance(version, Hashable) else {}  # an array equals nothing
        layouts = [layout for layout, its_version in known.items() if its_version == version]
        if not layouts:
            error = FormatError(
                path="version", offset=offset, expected="0 or 1", found=shown(version), hint=hint
            )
            error.partial = Container()  # nothing of the context can be read
            raise error
        return layouts

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        layout = super()._parse(stream, context, path)
        try:
            container = self.cases[layout]._parse(stream, context, path)
        except FormatError as error:
            error.partial["layout"] = layout
            raise
        container["layout"] = layout
        return container

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        given = obj if isinstance(obj, Mapping) else {}
        hint = "give the version of the optimizer context"
        candidates = self._of_version(given.get("version"), stream.tell(), hint)
        fitting = [key for key in candidates if self._has_params(key) == ("params" in given)]
        return self.cases[(fitting or candidates)[0]]._build(obj, stream, context, path)

    def _has_params(self, layout: Layout) -> bool:
        return any(member.name == "params" for member in self.cases[layout].subcons)


class HeaderLayoutByFirstRecord(LookAhead):
    """Which layout the hyperparameters have, told by where the first record stands.

    Where a file has the first record at no place, the layout is the first of the cases, and parsing
    it says what is wrong. Building takes what is given, by default that layout.

    Attributes:
        layouts: the structs of the hyperparameters, which follow.
        between: what lies between them and the first record.
        record_name: the name of the first record.
    """

    def __init__(
        self, layouts: Mapping[HeaderLayout, Struct], between: Struct, record_name: str, start: int
    ) -> None:
        places = [start + case.least + between.least for case in layouts.values()]
        numbers = " or ".join(map(str, places))
        names = " or ".join(str(place + 20) for place in places)
        super().__init__(
            "Not stored. All before the model is four bytes longer with n_mult, so the first "
            f"record, model.tok_embeddings.a, stands {numbers} bytes from the start of the file. "
            "Look at these places in this order: the layout is that of the first where n_dims, "
            f"name_length and type are 2, {len(record_name)} and 0, or where the name, at {names}, "
            f"is {record_name}. If there is no such place, the file is damaged: reject it, and "
            "name what is wrong when it is read with n_mult."
        )
        self.layouts = layouts
        self.between = between
        self.record_name = record_name
        self.flagbuildnone = True

    def _look(self, stream: Any, context: Any) -> HeaderLayout:
        offset = stream.tell()
        name = self.record_name.encode()
        numbers = struct.pack("<3L", 2, len(name), F32_TYPE)
        for layout, hyperparameters in self.layouts.items():
            stream.seek(offset + hyperparameters.least + self.between.least)
            record = stream.read(20 + len(name))  # the numbers, two dimensions, the name
            if record[:12] == numbers or record[20:] == name:
                return layout
        return next(iter(self.layouts))

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> HeaderLayout:
        default = next(iter(self.layouts))
        return default if obj is None else chosen(HeaderLayout, obj, default, stream.tell())


class NamesByRecord(LookAhead):
    """Which family of names a LoRA checkpoint keeps to, told by two names of the first layer.

    Building takes what is given, by default the ordinary family.

    Attributes:
        before_layers, before_w1: the records in front of these, with ordinary names.
        first_name: the name of the first layer's first record without ``layers.``.
        w1_name: that of w1 A, in the family that has another.
    """

    def __init__(self, before_layers: Struct, before_w1: Struct, first_name: str, w1_name: str):
        super().__init__(
            f"Not stored. `{NameFamily.WITHOUT_LAYERS.value}` if the first layer's first record "
            f"has a name of {len(first_name)} bytes, as {first_name} has; "
            f"`{NameFamily.W1_A.value}` if its w1.a has one of {len(w1_name)} bytes, as {w1_name} "
            f"has; else `{NameFamily.ORDINARY.value}`. None of the records in front of these is "
            "called otherwise. A file without layers is ordinary."
        )
        self.before_layers = before_layers
        self.before_w1 = before_w1
        self.first_name = first_name
        self.w1_name = w1_name
        self.ahead = (before_layers, before_w1)
        self.flagbuildnone = True

    def _look(self, stream: Any, context: Any) -> NameFamily:
        scope, start = Container(_root=context["_root"], _index=0), stream.tell()
        if context["hyperparameters"]["block_count"]:
            for before, name, family in (
                (self.before_layers, self.first_name, NameFamily.WITHOUT_LAYERS),
                (self.before_w1, self.w1_name, NameFamily.W1_A),
            ):
                stream.seek(start)
                try:
                    before._parse(stream, scope, "")
                    _, length = struct.unpack("<2L", read(stream, 8))
                except FormatError:
                    continue
                if length == len(name):
                    return family
        return NameFamily.ORDINARY

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> NameFamily:
        default = NameFamily.ORDINARY
        families = NameFamily if context["hyperparameters"]["block_count"] else (default,)
        return default if obj is None else chosen(families, obj, default, stream.tell())


class FeedForwardLengthByRecord(LookAhead):
    """n_ff, the last dimension of the first layer's w1 B.

    It is 0 in a file without layers, which needs none, and in one that is wrong before that
    dimension: parsing the model says where and how. Building takes what is given.

    Attributes:
        before: the records before that one, none of whose shapes depends on n_ff.
    """

    def __init__(self, before: Struct) -> None:
        super().__init__(
            "Not stored in the header, but shapes depend on it: it is the second dimension of "
            "layers.0.feed_forward.w1.weight.loraB, at least 1. It stands inside the model, but no "
            "look-ahead is needed: nothing before that record depends on it, all after it must "
            "agree. In a file without layers it is 0, and nothing needs it."
        )
        self.before = before
        self.ahead = (before,)

    def _look(self, stream: Any, context: Any) -> int:
        if context["hyperparameters"]["block_count"] == 0:
            return 0
        try:
            self.before._parse(stream, Container(_root=context["_root"], _index=0), "")
            dimension_count, _, _, _, length = struct.unpack("<5L", read(stream, 20))
        except FormatError:
            return 0
        if dimension_count != 2:
            return 0
        _require_some(length, stream.tell() - 4, DAMAGED)
        return int(length)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        _require_number(obj, stream.tell())
        if context["hyperparameters"]["block_count"] > 0:
            _require_some(obj, stream.tell(), ANOTHER)


def _require_number(given: Any, offset: int) -> None:
    if not isinstance(given, Hashable):  # an array of NumPy, or a list
        raise FormatError(
            offset=offset, expected="a whole number", found=type(given).__name__, hint=ANOTHER
        )


def _require_some(length: Any, offset: int, hint: str) -> None:
    if length == 0:
        raise FormatError(offset=offset, expected="at least 1", found="0", hint=hint)
