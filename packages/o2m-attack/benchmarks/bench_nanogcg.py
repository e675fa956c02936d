"""Text alone, against nanoGCG 0.3.0 in its own environment: the same model by file, candidates and iterations.

Give that environment's Python in NANOGCG_PYTHON (``nanogcg/requirements.txt`` lists what it holds); without it this
script says so and ends.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rows import store, to_rows

from auscult.o2m_attack import GCG, AttackConfig, Record, Templates
from auscult.o2m_attack.targets.tiny import tiny_llava

HERE = Path(__file__).parent
WIDTH, TOPK, LENGTH = 64, 64, 10
SIZES = {
    "width 64, 2 layers, 400 tokens": (15, {"vocabulary": 400, "hidden": 64, "layers": 2}),
    "width 256, 4 layers, 400 tokens": (6, {"vocabulary": 400, "hidden": 256, "layers": 4, "heads": 4}),
}


class TextTarget:
    """The language model of a tiny LLaVA alone: an image that takes no position."""

    def __init__(self, llava) -> None:
        self.language, self.prompts, self.preprocessor = llava.language, llava.prompts, self
        self.name, self._width = "text only", llava.language.embedding.weight.shape[1]

    def clean(self, image):
        """Return a picture of nothing."""
        return torch.zeros(3, 1, 1)

    def features(self, image, ledger=None):
        """Return no position."""
        return torch.zeros(0, self._width, dtype=self.language.dtype)


def save_text_model(llava, folder: Path) -> None:
    """Write the language model as the checkpoint of a causal model that older transformers read."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(llava.model.config.get_text_config())
    model.model.load_state_dict(llava.model.model.language_model.state_dict())
    model.lm_head.load_state_dict(llava.model.lm_head.state_dict())
    model.save_pretrained(folder)
    llava.tokenizer.save_pretrained(folder)
    # Names of transformers 5 that 4.47 does not know.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    kept = {name: settings[name] for name in ("bos_token", "eos_token", "unk_token", "pad_token") if name in settings}
    path.write_text(json.dumps({**kept, "tokenizer_class": "PreTrainedTokenizerFast"}))


def run_ours(llava, record: Record, steps: int, seeds: list[int], **changes) -> dict[str, list[float]]:
    target = TextTarget(llava)
    found: dict[str, list[float]] = {"seconds": [], "losses": []}
    for seed in [seeds[0], *seeds]:
        config = AttackConfig(
            steps=steps, search_width=WIDTH, topk=TOPK, suffix_length=LENGTH, seed=seed,
            **{"accept": "better", "sampler": "uniform", **changes},
        )  # fmt: skip
        start = time.perf_counter()
        result = GCG(config).run(target, record)
        found["seconds"].append(time.perf_counter() - start)
        found["losses"].append(result.best_loss)
    return {name: values[1:] for name, values in found.items()}


def main() -> None:
    quick = "--quick" in sys.argv
    python = os.environ.get("NANOGCG_PYTHON")
    if not python:
        print(f"NANOGCG_PYTHON is not set: an environment with {HERE / 'nanogcg/requirements.txt'} is needed")
        return
    seeds = [0, 1] if quick else list(range(30))
    for name, (steps, sizes) in list(SIZES.items())[: 1 if quick else None]:
        llava = tiny_llava(**sizes, templates=Templates(question="{prompt}"))
        record = Record(
            "1", np.zeros((2, 2, 3), np.uint8), "CT and Chest", "MRI and Brain", "Which colour has the marker?",
            "Which name is written on the label on the left?", "Matching", "name the label on the left",
        )  # fmt: skip
        from auscult.o2m_attack.conditions import make_request

        request = make_request(record, "2m", llava.templates)
        suffix = llava.prompts.neutral_suffix(request, LENGTH)
        settings = {
            "question": request.question, "target": request.target, "suffix": suffix, "steps": steps, "seeds": seeds,
            "width": WIDTH, "topk": TOPK, "threads": torch.get_num_threads(),
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            save_text_model(llava, Path(folder))
            command = [python, str(HERE / "nanogcg/attack.py"), folder, json.dumps(settings)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        line = next(line for line in output.splitlines() if line.startswith("RESULT "))
        theirs = json.loads(line.removeprefix("RESULT "))
        ours = run_ours(llava, record, steps, seeds)
        default = run_ours(llava, record, steps, seeds, accept="better_or_stay", sampler="gradient")
        what = f"GCG on text alone, {WIDTH} candidates of {TOPK}, {steps} iterations, {name}"
        load = f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()}"
        note = f"seeds 0 to {seeds[-1]}, {torch.get_num_threads()} threads, {load}"
        providers = {"nanogcg": theirs, "o2m-attack": ours, "o2m-attack, its defaults": default}
        versions = {"nanogcg": theirs["versions"]}
        for metric, unit, key in (("time", "s", "seconds"), ("best loss", "nats a token", "losses")):
            values = {provider: found[key] for provider, found in providers.items()}
            rows = to_rows(what, metric, unit, values, note=note, versions=versions)
            if not quick:
                store(rows)


if __name__ == "__main__":
    main()
