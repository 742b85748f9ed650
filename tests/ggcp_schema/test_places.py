"""Which bytes hold which field, also of a file that is damaged."""

from __future__ import annotations

import io

import pytest
from packed import Packed, checkpoint

import ggcp_schema
from ggcp_schema import parse
from ggcp_schema.synthetic import SyntheticLora

FILES = {
    "version 0": checkpoint(0, n_layer=2),
    "version 0, L-BFGS": checkpoint(0, "lbfgs", past=3, n_layer=1),
    "version 1": checkpoint(1, past=3, n_layer=2),
    "version 1 with params": checkpoint(1, with_params=True),
}


def parsed(data: bytes) -> ggcp_schema.Checkpoint:
    return parse(io.BytesIO(data), partial=True)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_every_field_is_where_the_writer_put_it(file: Packed) -> None:
    with parsed(bytes(file.data)) as whole:
        places = {place.path: place for place in whole.places()}
        for path, (offset, length) in file.fields.items():
            assert (places[path].offset, places[path].length) == (offset, length), path
            assert whole.place(path) == offset, path
        assert whole.stop() == len(file.data)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_that_is_cut_has_places_up_to_where_parsing_stopped(file: Packed) -> None:
    for cut in range(4, len(file.data), 41):
        with parsed(bytes(file.data[:cut])) as part:
            places = list(part.places())
            assert part.stop() == places[-1].stop <= cut
            for place in places:
                assert part.place(place.path) == place.offset
                offset = file.fields.get(place.path, (place.offset,))[0]
                assert place.offset == offset, place.path


@pytest.mark.parametrize(
    ("name", "header", "iteration_limit"),
    [
        ("version 0", 116, 28),
        ("version 0, L-BFGS", 116, 28),
        ("version 1", 28, None),
        ("version 1 with params", 116, 28),
    ],
)
def test_where_the_numbers_of_the_optimizer_context_are(
    name: str, header: int, iteration_limit: int | None
) -> None:
    with parsed(bytes(FILES[name].data)) as whole:
        assert whole.place("training.sample_count") == 12
        assert whole.place("model") == 44
        start = whole.place("optimizer")
        assert start == FILES[name].fields["optimizer.version"][0]
        assert whole.place("optimizer.state") == start + header
        path = "optimizer.params.adam.iteration_limit"
        if iteration_limit is not None:
            assert whole.place(path) == start + iteration_limit
        else:
            with pytest.raises(LookupError, match=f"{path} was not parsed"):
                whole.place(path)


@pytest.mark.parametrize(("multiple", "header"), [(4, 92), (None, 88)])
def test_where_the_header_of_a_lora_checkpoint_ends(multiple: int | None, header: int) -> None:
    file = io.BytesIO()
    SyntheticLora(feed_forward_multiple=multiple).write(file)
    with parse(file) as whole:
        assert whole.place("model") == whole.place("model.tok_embeddings.a.n_dims") == header


@pytest.mark.parametrize("path", ["model.layers[2]", "nothing", "training.sample_count.more"])
def test_a_field_that_is_not_there(path: str) -> None:
    with (
        parsed(bytes(FILES["version 1"].data)) as whole,
        pytest.raises(LookupError, match="was not parsed"),
    ):
        whole.place(path)
