"""LLaVA and LLaVA-NeXT checkpoints in the format of transformers, from a folder or the hub."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from auscult.core.canonical import canonical_json
from auscult.core.device import choose_device, choose_dtype
from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import Templates
from auscult.o2m_attack.optimise.budget import Ledger
from auscult.o2m_attack.preprocess import AnyResolution, Preprocessor, SingleView
from auscult.o2m_attack.record import Record
from auscult.o2m_attack.targets.language import LanguageModel
from auscult.o2m_attack.targets.prompts import Prompts
from auscult.o2m_attack.targets.protocol import Query

_TYPES = {"llava": "LlavaForConditionalGeneration", "llava_next": "LlavaNextForConditionalGeneration"}


class LlavaTarget:
    """A model with replies and gradients.

    Parameters
    ----------
    model
        ``LlavaForConditionalGeneration`` or ``LlavaNextForConditionalGeneration``; it is put into evaluation mode and
        its weights lose ``requires_grad``.
    tokenizer, image_processor
        Of the model; the image processor's PIL backend.
    name
        What reports call it.
    templates
        The wordings of questions, turns and targets.
    chat, chat_template
        The conversation around a turn (see :class:`~auscult.o2m_attack.targets.prompts.Prompts`).
    batch_size
        Queries that are answered together.

    Raises
    ------
    InputError
        The model is of another kind.
    """

    types = frozenset(_TYPES)
    """The kinds of models, as their configurations name them."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_processor: Any,
        *,
        name: str,
        templates: Templates | None = None,
        chat: str | None = None,
        chat_template: str | None = None,
        batch_size: int = 16,
    ) -> None:
        kind = getattr(model.config, "model_type", type(model).__name__)
        if kind not in _TYPES:
            raise InputError(f"{name} is a model of type {kind!r}: {', '.join(_TYPES)} can be optimised on")
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.batch_size = batch_size
        self._name = name
        text = model.config.get_text_config()
        self.language = LanguageModel(
            model.model.language_model,
            model.get_output_embeddings(),
            model.get_input_embeddings(),
            layers=text.num_hidden_layers,
            context=text.max_position_embeddings,
        )
        token = tokenizer.convert_ids_to_tokens(model.config.image_token_id)
        self.prompts = Prompts(tokenizer, token, templates=templates, chat=chat, chat_template=chat_template)
        self.preprocessor: Preprocessor = (
            AnyResolution(image_processor, model.config.image_grid_pinpoints)
            if kind == "llava_next"
            else SingleView(image_processor)
        )

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        **options: Any,
    ) -> "LlavaTarget":
        """Read a checkpoint.

        Parameters
        ----------
        source
            A folder in the format of transformers, or a hub id.
        device, dtype
            As for :func:`auscult.core.device.choose_device` and ``choose_dtype``.
        revision
            Of a hub id.
        options
            Further arguments of the constructor.

        Raises
        ------
        InputError
            There is no such checkpoint, it is of another kind, or its image processor needs torchvision.
        """
        import transformers

        device = choose_device(device)
        precision = getattr(torch, choose_dtype(device, dtype))
        place = str(source)
        kind = model_type(place, revision)
        if kind not in _TYPES:
            raise InputError(
                f"{place} is a model of type {kind!r}: {', '.join(_TYPES)} can be optimised on; convert "
                "LLaVA-Med-style checkpoints to that format, or use this one for transfer only"
            )
        with explained(place):
            processors: Any = transformers.AutoProcessor
            processor = processors.from_pretrained(place, revision=revision)
            models: Any = getattr(transformers, _TYPES[kind])
            model = whole_model(models, place, revision=revision, dtype=precision).to(device)
        options.setdefault("chat_template", getattr(processor, "chat_template", None))
        name = options.pop("name", None) or content_name(
            place, model, options["chat_template"], options.get("chat"), (options.get("templates") or Templates()).turn
        )
        return cls(model, processor.tokenizer, processor.image_processor, name=name, **options)

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._name

    @property
    def templates(self) -> Templates:
        """The wordings of questions, turns and targets."""
        return self.prompts.templates

    def features(self, image: Tensor, ledger: Ledger | None = None) -> Tensor:
        """Return the image's positions [M, d] in the language model's input; differentiable in the image [3, H, W]."""
        views = self.preprocessor.views(image.to(self.language.device))
        if ledger is not None:
            ledger.vision_passes += len(views)
        views = views.to(self.language.dtype)
        if isinstance(self.preprocessor, AnyResolution):
            sizes = torch.tensor([image.shape[-2:]])
            output = self.model.get_image_features(pixel_values=views[None], image_sizes=sizes)
        else:
            output = self.model.get_image_features(pixel_values=views)
        found: Tensor = output.pooler_output[0]
        return found

    def loss(
        self, image: Tensor, suffix_ids: "Tensor | Sequence[int]", record: Record, condition: str = "2m"
    ) -> Tensor:
        """Return the mean negative log-likelihood of the target; differentiable in the image.

        Nothing is cached here: this is the formula that the optimisers' cached paths are tested against.

        Parameters
        ----------
        image
            [3, H, W] in [0, 1], of the size that the vision tower sees (``preprocessor.clean`` makes it).
        suffix_ids
            [n] token ids; none is a prompt without a suffix.
        record, condition
            What is asked and what is the target.
        """
        from auscult.o2m_attack.objective import Objective

        ids = torch.as_tensor(suffix_ids, dtype=torch.long)
        return Objective.of_ids(self, record, condition, ids).loss(image, ids)

    def generate(self, queries: Sequence[Query], *, max_new_tokens: int = 64) -> list[str]:
        """Return the greedy reply to each query, without the prompt and special tokens."""
        replies: list[str] = []
        for start in range(0, len(queries), self.batch_size):
            replies += self._generate(queries[start : start + self.batch_size], max_new_tokens)
        return replies

    @torch.inference_mode()
    def _generate(self, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        rows = [self._embedded(query) for query in queries]
        longest = max(len(row) for row in rows)
        # Padded on the left: the replies begin in one column.
        embeds = torch.stack([torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=embeds.device)
        ids = self.model.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, pad_token_id=self._padding,
        )  # fmt: skip
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _embedded(self, query: Query) -> Tensor:
        text = self.prompts.render(query.question, query.suffix)
        before, behind = self.prompts.split_at_image(list(self.prompts.encode(text)["input_ids"]))
        features = self.features(self.preprocessor.clean(query.image))
        parts = [self.language.embed(torch.tensor(ids, dtype=torch.long)) for ids in (before, behind)]
        return torch.cat([parts[0], features.to(parts[0].dtype), parts[1]])

    @property
    def _padding(self) -> int:
        for one in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if one is not None:
                return int(one)
        return 0


def content_name(source: str, model: torch.nn.Module, *settings: object) -> str:
    """Return a checkpoint's name with the beginning of a digest of its weights and of what else decides its replies.

    Two folders may have one name, and one folder may get other weights: neither is the same model.
    """
    found = hashlib.blake2b(canonical_json(settings).encode(), digest_size=4)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return f"{Path(source).resolve().name if Path(source).is_dir() else source}@{found.hexdigest()}"


def model_type(source: str, revision: str | None = None) -> str:
    """Return the kind that a checkpoint's configuration names.

    Raises
    ------
    InputError
        There is no such checkpoint.
    """
    import transformers

    folder = Path(source)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{source} is a file: give the folder of a checkpoint, or a hub id like org/name")
    if not folder.is_dir() and source.count("/") != 1:
        raise InputError(f"there is no folder {source!r}: give one with a config.json, or a hub id like org/name")
    with explained(source):
        return str(transformers.AutoConfig.from_pretrained(source, revision=revision).model_type)


def whole_model(kind: Any, source: str, *, unused: str | None = None, **options: Any) -> Any:
    """Return a model of transformers, all of whose weights are in its checkpoint: it would make up the rest at random.

    Parameters
    ----------
    kind
        A class with ``from_pretrained``.
    source
        A folder or a hub id.
    unused
        Weights with this in their name may be missing.

    Raises
    ------
    InputError
        Some are not.
    """
    model, found = kind.from_pretrained(source, output_loading_info=True, **options)
    missing = sorted(name for name in found["missing_keys"] if unused is None or unused not in name)
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} of the weights of {type(model).__name__}, such as {missing[0]}, and random "
            "ones would take their place: give a whole checkpoint of this kind of model"
        )
    return model


@contextlib.contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn what transformers raises while it loads a checkpoint into one sentence."""
    try:
        yield
    except ImportError as error:
        if "torchvision" not in str(error).lower():
            raise
        raise InputError(
            f"the image processor of {source} needs torchvision, which auscult does without: save it in its PIL form "
            "(use_fast=False in older transformers), or put a preprocessor_config.json into the folder whose "
            "image_processor_type is CLIPImageProcessor"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        other = isinstance(error, RuntimeError) and "mismatched_sizes" not in str(error)  # memory, for one
        if isinstance(error, InputError) or other:
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source} cannot be loaded ({reason}): give a folder or a hub id of a whole checkpoint"
        ) from error
