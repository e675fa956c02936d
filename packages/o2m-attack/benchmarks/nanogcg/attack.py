"""nanoGCG on a folder's model, in an environment of its own; prints one JSON line: seconds and best losses by seed."""

import json
import logging
import sys
import time
from importlib.metadata import version

import nanogcg
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

folder, settings = sys.argv[1], json.loads(sys.argv[2])
torch.set_num_threads(settings["threads"])
logging.disable(logging.WARNING)
model = LlamaForCausalLM.from_pretrained(folder).eval()
tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
tokenizer.chat_template = "USER: {{ messages[0]['content'] }} ASSISTANT:"
found = {"seconds": [], "losses": [], "initial": []}
for seed in [settings["seeds"][0], *settings["seeds"]]:
    config = nanogcg.GCGConfig(
        num_steps=settings["steps"], optim_str_init=settings["suffix"], search_width=settings["width"],
        topk=settings["topk"], add_space_before_target=True, seed=seed, verbosity="ERROR",
    )  # fmt: skip
    start = time.perf_counter()
    result = nanogcg.run(model, tokenizer, settings["question"] + "\n\n{optim_str}", settings["target"], config)
    found["seconds"].append(time.perf_counter() - start)
    found["losses"].append(result.best_loss)
# The first run warms up.
found = {name: values[1:] for name, values in found.items()}
found["versions"] = ", ".join(f"{name} {version(name)}" for name in ("nanogcg", "transformers", "torch"))
print("RESULT " + json.dumps(found))
