"""Keys and values of a shared beginning, computed once and read by every candidate."""

from typing import Any

from torch import Tensor, cat
from transformers.cache_utils import Cache, CacheLayerMixin


class Prefix:
    """What a language model remembers of positions that come first.

    Parameters
    ----------
    layers
        Keys and values [1, heads, positions, size] of each layer; none for an empty prefix.
    """

    def __init__(self, layers: tuple[tuple[Tensor, Tensor], ...] = ()) -> None:
        self.layers = layers

    def __len__(self) -> int:
        return self.layers[0][0].shape[-2] if self.layers else 0


class SharedCache(Cache):
    """A cache that a whole batch reads and no forward pass changes.

    The prefix is widened to the batch as a view; one layer at a time holds a copy of it beside the new positions, and
    lets go of it after that layer. A cache of transformers would keep such a copy for every layer.

    Parameters
    ----------
    prefix
        What all rows of the batch begin with.
    layers
        How many the model has.
    record
        Whether to remember the new positions too, to be read from :attr:`recorded`.
    """

    def __init__(self, prefix: Prefix, layers: int, *, record: bool = False) -> None:
        pairs = prefix.layers or ((None, None),) * layers
        self._shared = [_SharedLayer(keys, values, record=record) for keys, values in pairs]
        super().__init__(layers=list(self._shared))

    @property
    def recorded(self) -> Prefix:
        """The prefix with the positions that a recording pass added."""
        return Prefix(tuple((layer.keys.detach(), layer.values.detach()) for layer in self._shared))


class _SharedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    is_sliding = False
    keys: Any
    values: Any

    def __init__(self, keys: Tensor | None, values: Tensor | None, *, record: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True
        self._record = record

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        joined = _behind(self.keys, key_states), _behind(self.values, value_states)
        if self._record:
            self.keys, self.values = joined
        return joined

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else int(self.keys.shape[-2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1


def _behind(shared: Tensor | None, new: Tensor) -> Tensor:
    return new if shared is None else cat([shared.expand(new.shape[0], -1, -1, -1), new], dim=-2)
