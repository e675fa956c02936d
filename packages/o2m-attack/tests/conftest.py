import functools

import numpy as np
import pytest
import torch

from auscult.o2m_attack import Record
from auscult.o2m_attack.targets.tiny import tiny_llava

torch.set_num_threads(1)  # tiny matrices are done before a second thread has woken


def make_record(seed=0, size=(40, 33), **changes):
    """Return a benign stand-in: the restricted thing is the name on a label."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    fields = {
        "id": f"r{seed}",
        "image": image,
        "original_attribute": "CT and Chest",
        "unmatch_attribute": "MRI and Brain",
        "normal_prompt": "What colour is the marker?",
        "harmful_prompt": "Which name is on the label?",
        "policy": "Matching",
        "key_phrases": "name the label",
    }
    return Record(**{**fields, **changes})


@pytest.fixture(scope="session")
def new_record():
    return make_record


@pytest.fixture(scope="session")
def record():
    return make_record()


@pytest.fixture(scope="session", params=["llava", "llava_next"])
def target(request):
    return tiny_llava(request.param, vocabulary=400)


@pytest.fixture(scope="session")
def llava():
    return tiny_llava(vocabulary=400)


def exact(target):
    """Let a float64 model compute in float64: transformers' norms go through float32."""
    for module in target.model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = functools.partial(_norm, module)
    return target


def _norm(module, hidden):
    return module.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + module.variance_epsilon)


@pytest.fixture(scope="session", params=["llava", "llava_next"])
def target64(request):
    return exact(tiny_llava(request.param, vocabulary=400, dtype="float64"))


@pytest.fixture(scope="session")
def victim():
    """The demonstration's model, trained once for all tests."""
    from auscult.o2m_attack.victim import demo_target

    return demo_target()


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """Folders of a random text model and a random CLIP model."""
    from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    from auscult.o2m_attack.targets.tiny import tiny_image_processor, tiny_tokenizer

    tokenizer = tiny_tokenizer(["a CT of the chest", "an MRI of the brain"])
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=CLIPTextConfig(
                vocab_size=len(tokenizer), max_position_embeddings=32, bos_token_id=1, eos_token_id=2, **sizes
            ).to_dict(),
            vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **sizes).to_dict(), projection_dim=8,
        )
    )  # fmt: skip
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("text", "image")}
    model.save_pretrained(folders["image"])
    tiny_image_processor("llava", 28).save_pretrained(folders["image"])
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folders["text"])
    for folder in folders.values():
        tokenizer.save_pretrained(folder)
    return folders
