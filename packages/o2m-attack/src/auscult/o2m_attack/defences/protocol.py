"""What a defence has to offer, and the two usual kinds: one changes a query, one stops it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from auscult.o2m_attack.targets.protocol import Query, Target

STOPPED = "Sorry, this request was stopped by a check."
"""The reply to a query that did not reach the model; it counts as a refusal."""


@runtime_checkable
class Defence(Protocol):
    """Anything that stands before a model."""

    @property
    def name(self) -> str:
        """What reports call it; another name for other settings."""

    def generate(self, target: Target, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the reply to each query; :data:`STOPPED` for one that the model is not shown."""


class Transform(ABC):
    """A defence that changes each query."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @abstractmethod
    def change(self, query: Query) -> Query:
        """Return what the model is shown in place of a query."""

    def generate(self, target: Target, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the replies to the changed queries."""
        return target.generate([self.change(query) for query in queries], max_new_tokens=max_new_tokens)


class Filter(ABC):
    """A defence that stops some queries."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @abstractmethod
    def stops(self, target: Target, queries: Sequence[Query]) -> list[bool]:
        """Return which queries the model is not shown."""

    def generate(self, target: Target, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the replies to the queries that are let through."""
        stopped = self.stops(target, queries)
        passed = [query for query, stop in zip(queries, stopped, strict=True) if not stop]
        replies = iter(target.generate(passed, max_new_tokens=max_new_tokens) if passed else [])
        return [STOPPED if stop else next(replies) for stop in stopped]
