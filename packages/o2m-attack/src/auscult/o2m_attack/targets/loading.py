"""A target by its name, as the commands take it."""

from typing import Any

from auscult.core.errors import InputError
from auscult.o2m_attack.conditions import Templates
from auscult.o2m_attack.targets.protocol import Target


def load_target(
    model: str,
    *,
    endpoint: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    chat: str | None = None,
    templates: Templates | None = None,
    white_box: bool = False,
) -> Target:
    """Return a model under test.

    Parameters
    ----------
    model
        A folder in the format of transformers, a hub id, ``demo`` for the small model that is trained on the spot,
        ``tiny`` for one with random weights (to see what a run writes), or with ``endpoint`` the name under which the
        server lists it.
    endpoint, api_key_env
        The base URL of an OpenAI-compatible server, and the variable that holds its key.
    device, dtype, revision
        Of local weights.
    chat
        The conversation around ``{turn}``, for a model without a chat template.
    templates
        The wordings of questions, turns and targets; None takes the defaults (the demo model has its own).
    white_box
        Whether gradients are needed.

    Raises
    ------
    InputError
        There is no such model, it gives no gradients where they are needed, or an option has no effect on it.
    """
    options: dict[str, Any] = {} if templates is None else {"templates": templates}
    given = {"device": device, "dtype": dtype, "revision": revision, "chat": chat}
    if endpoint is not None:
        _refuse_idle("a server", given)
        if white_box:
            raise InputError("a server gives no gradients: optimise on local weights, and replay on it with transfer")
        from auscult.core.endpoint import Endpoint
        from auscult.o2m_attack.targets.endpoint import EndpointTarget

        return EndpointTarget(Endpoint(base_url=endpoint, model=model, api_key_env=api_key_env), **options)
    if model == "demo":
        from auscult.o2m_attack.victim import demo_target

        _refuse_idle("the demo model", given)
        if templates is not None:
            raise InputError("the demo model has its own wordings: leave --templates and --preset reference out")
        return demo_target()
    if model == "tiny":
        from auscult.o2m_attack.targets.tiny import tiny_llava

        _refuse_idle("the tiny model", given)
        return tiny_llava(name="tiny", **options)
    from auscult.o2m_attack.targets.llava import LlavaTarget, model_type

    if white_box or model_type(model, revision) in LlavaTarget.types:
        return LlavaTarget.load(model, device=device, dtype=dtype, revision=revision, chat=chat, **options)
    _refuse_idle(f"{model}, whose processor has a chat template of its own", {"chat": chat})
    return _load_chat(model, device, dtype, revision, options)


def _refuse_idle(what: str, given: dict[str, str | None]) -> None:
    """Refuse an option that would have no effect; small models of ours are float32 on the CPU."""
    for name, value in given.items():
        if value not in (None, "auto") and (what.startswith("a server") or value not in ("cpu", "float32")):
            raise InputError(f"{name} {value!r} has no effect on {what}: leave it out")


def _load_chat(model: str, device: str, dtype: str, revision: str | None, options: dict[str, Any]) -> Target:
    import torch
    import transformers

    from auscult.core.device import choose_device, choose_dtype
    from auscult.o2m_attack.targets.chat import ChatTarget
    from auscult.o2m_attack.targets.llava import content_name, explained, whole_model

    device = choose_device(device)
    precision = getattr(torch, choose_dtype(device, dtype))
    with explained(model):
        processors: Any = transformers.AutoProcessor
        models: Any = transformers.AutoModelForImageTextToText
        processor = processors.from_pretrained(model, revision=revision)
        weights = whole_model(models, model, revision=revision, dtype=precision).to(device)
    turn = (options.get("templates") or Templates()).turn
    name = content_name(model, weights, getattr(processor, "chat_template", None), None, turn)
    return ChatTarget(weights, processor, name=name, **options)
