"""The PRISM model as torch modules; :class:`Prism` puts them together."""

from typing import TYPE_CHECKING

from auscult.core import lazy

if TYPE_CHECKING:
    from auscult.sparse_ehr.nn.config import PrismConfig as PrismConfig
    from auscult.sparse_ehr.nn.prism import Prism as Prism
    from auscult.sparse_ehr.nn.prism import PrismOutput as PrismOutput

_NAMES = {"Prism": "prism", "PrismConfig": "config", "PrismOutput": "prism"}
__all__ = [*_NAMES]
__getattr__, __dir__ = lazy.attach(__name__, _NAMES)
