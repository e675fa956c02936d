"""Properties 5 to 9, 11, 14, 15 and 16 of the method, on small random UNets."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from auscult.agfsync import DiffusionDPOConfig, DiffusionDPOTrainer, cache_pairs
from auscult.agfsync.training.draws import noise_pairs
from auscult.agfsync.training.export import save_adapter
from auscult.agfsync.training.reference import adapters_off, as_reference, weights_digest
from auscult.agfsync.training.trainer import conditions_of, stack
from auscult.core.errors import InputError
from auscult.core.testing import run_group


def lora(**options):
    settings = {"r": 4, "lora_alpha": 4, "init_lora_weights": "gaussian"}
    return LoraConfig(target_modules=["to_q", "to_k", "to_v", "to_out.0"], **settings | options)


def make(unet, data, folder, *, adapter=True, scheduler, callbacks=None, eval_data=None, **options):
    settings = {
        "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 1000,
        "use_cpu": True, "disable_tqdm": True, "log_level": "error", "beta": 500.0, "seed": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    return DiffusionDPOTrainer(
        unet, args=DiffusionDPOConfig(output_dir=str(folder), **settings | options), train_dataset=data,
        eval_dataset=eval_data, noise_scheduler=scheduler, peft_config=lora() if adapter else None, callbacks=callbacks,
    )  # fmt: skip


def losses(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def trained(trainer):
    return {name: value.detach().clone() for name, value in trainer.unet.named_parameters() if value.requires_grad}


def assert_equal_weights(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance or {"rtol": 0, "atol": 0})


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("precompute", [True, False])
def test_training_begins_at_ln_2_and_moves_only_what_it_should(sd, cache, tmp_path, adapter, precompute):
    before = {name: value.clone() for name, value in sd.unet.state_dict().items()}
    options = {"precompute_ref_log_probs": True, "ref_draws": 2} if precompute else {}
    trainer = make(sd.unet, cache, tmp_path, adapter=adapter, scheduler=sd.scheduler, **options)
    start = trained(trainer)
    reference = None if trainer.ref_model is None else weights_digest(trainer.ref_model)
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(0.693147, abs=1e-5)
    first = trainer.state.log_history[0]
    assert first["rewards/accuracies"] == 0.5
    assert {"rewards/chosen", "rewards/rejected", "rewards/margins", "errors/chosen_excess"} <= first.keys()
    assert all(not torch.equal(value, start[name]) for name, value in trained(trainer).items())
    if adapter:
        for name, value in before.items():
            wrapped = (
                name
                if name in trainer.unet.state_dict()
                else name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
            )
            assert torch.equal(trainer.unet.state_dict()[wrapped], value)
    if reference is not None:
        assert weights_digest(trainer.ref_model) == reference
        assert all(parameter.grad is None for parameter in trainer.ref_model.parameters())
    assert (trainer.ref_model is None) == (adapter or precompute)


def test_a_fresh_adapter_changes_nothing_and_adapters_come_back_on(sd, cache):
    noisy, t, states = torch.randn(2, 4, 8, 8), torch.tensor([5, 700]), torch.randn(2, 16, 96)
    with torch.no_grad():
        base = sd.unet(noisy, t, states).sample
        sd.unet.add_adapter(lora())
        assert torch.equal(sd.unet(noisy, t, states).sample, base)
        for name, parameter in sd.unet.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        changed = sd.unet(noisy, t, states).sample
        assert not torch.equal(changed, base)

        def fail_inside():
            with adapters_off(sd.unet):
                assert torch.equal(sd.unet(noisy, t, states).sample, base)
                raise RuntimeError("in the reference pass")

        with pytest.raises(RuntimeError):
            fail_inside()
        assert torch.equal(sd.unet(noisy, t, states).sample, changed)


@pytest.fixture
def tuned(sd, tmp_path):
    """A pipeline with an adapter that was trained before, loaded as diffusers' users do."""
    sd.unet.add_adapter(lora(lora_dropout=0.2))
    torch.manual_seed(1)
    for name, parameter in sd.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(sd.unet, tmp_path / "before")
    sd.unet.delete_adapters("default")
    sd.load_lora_weights(tmp_path / "before", adapter_name="style")
    return sd


def test_an_adapter_is_trained_on_against_what_it_was(tuned, cache, tmp_path):
    seen = torch.randn(2, 4, 8, 8), torch.tensor([5, 700]), torch.randn(2, 16, 96)
    untouched = copy.deepcopy(tuned.unet).eval()
    trainer = make(tuned.unet, cache, tmp_path, adapter=False, scheduler=tuned.scheduler, save_steps=2)
    names = list(trained(trainer))
    assert names
    assert all(".style." in name for name in names)
    with torch.no_grad(), as_reference(tuned.unet, "style"):
        assert torch.equal(tuned.unet.train()(*seen).sample, untouched(*seen).sample)
    start = trained(trainer)
    trainer.train()
    end = trained(trainer)
    assert list(end) == names
    assert all(not torch.equal(end[name], start[name]) for name in names)
    with torch.no_grad():
        with as_reference(tuned.unet, "style"):
            assert torch.equal(tuned.unet(*seen).sample, untouched(*seen).sample)
        wanted = tuned.unet.eval()(*seen).sample
    save_adapter(tuned.unet, tmp_path / "after", "style")
    again = make(copy.deepcopy(untouched), cache, tmp_path, adapter=False, scheduler=tuned.scheduler, save_steps=2)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert_equal_weights(trained(again), end)
    tuned.unload_lora_weights()
    tuned.load_lora_weights(tmp_path / "after")
    with torch.no_grad():
        assert torch.equal(tuned.unet.eval()(*seen).sample, wanted)


def test_training_an_adapter_on_begins_at_ln_2(tuned, cache, tmp_path):
    for parameter in ("precompute_ref_log_probs", None):
        options = {parameter: True, "ref_draws": 2} if parameter else {}
        model = copy.deepcopy(tuned.unet)
        model.peft_config["style"].lora_dropout = 0.0
        for module in model.modules():
            if hasattr(module, "lora_dropout"):
                module.lora_dropout["style"] = torch.nn.Identity()
        trainer = make(model, cache, tmp_path / str(parameter), adapter=False, scheduler=tuned.scheduler, **options)
        trainer.train()
        assert losses(trainer)[0] == pytest.approx(0.693147, abs=1e-5)


def test_an_adapter_beside_another_is_refused(tuned, cache, tmp_path):
    with pytest.raises(InputError, match="'style' already"):
        make(tuned.unet, cache, tmp_path, scheduler=tuned.scheduler)
    with warnings.catch_warnings(action="ignore"):
        tuned.unet.add_adapter(lora(), "second")
    with pytest.raises(InputError, match="'style' already"):
        make(tuned.unet, cache, tmp_path, adapter=False, scheduler=tuned.scheduler)


def test_both_halves_of_a_pair_share_noise_and_timestep(sd, cache):
    batch = stack([cache[i] for i in range(4)])
    drawn = noise_pairs(batch, [0, 1, 2, 3], sd.scheduler, seed=0)
    assert torch.equal(drawn.noise[:4], drawn.noise[4:])
    assert torch.equal(drawn.timesteps[:4], drawn.timesteps[4:])
    assert len({tuple(row.flatten().tolist()) for row in drawn.noise[:4]}) == 4


def test_a_draw_depends_on_seed_pair_and_number_alone(sd, cache):
    whole = noise_pairs(stack([cache[i] for i in range(8)]), [3] * 8, sd.scheduler, seed=7)
    for i in (0, 5):
        alone = noise_pairs(stack([cache[i]]), [3], sd.scheduler, seed=7)
        for name in ("noisy", "noise", "target"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[i])
            assert torch.equal(getattr(alone, name)[1], getattr(whole, name)[8 + i])
    other = noise_pairs(stack([cache[0]]), [4], sd.scheduler, seed=7)
    assert not torch.equal(other.noise[0], whole.noise[0])


def test_a_timestep_set_is_the_only_one_drawn(sd, cache, tmp_path):
    batch = stack([cache[i] for i in range(8)])
    seen = {
        int(t)
        for n in range(8)
        for t in noise_pairs(batch, [n] * 8, sd.scheduler, seed=0, timestep_set=(249, 999)).timesteps
    }
    assert seen == {249, 999}
    trainer = make(sd.unet, cache, tmp_path, scheduler=sd.scheduler, timestep_set=[999], sample_latents=False)
    drawn = trainer._draw(batch)
    assert set(drawn.timesteps.tolist()) == {999}
    again = noise_pairs(batch, [0] * 8, sd.scheduler, seed=0, timestep_set=(999,), sample_latents=False)
    assert torch.equal(drawn.noisy, again.noisy)
    assert not torch.equal(drawn.noisy, noise_pairs(batch, [0] * 8, sd.scheduler, seed=0, timestep_set=(999,)).noisy)
    with pytest.raises(InputError, match="1000"):
        noise_pairs(batch, [0] * 8, sd.scheduler, seed=0, timestep_set=(1000,))


@pytest.mark.parametrize("adapter", [True, False])
def test_cached_reference_errors_give_the_same_losses(sd, cache, tmp_path, adapter):
    unets = [sd.unet, copy.deepcopy(sd.unet)]
    runs = []
    for unet, precompute in zip(unets, (False, True), strict=True):
        trainer = make(unet, cache, tmp_path / str(precompute), adapter=adapter, scheduler=sd.scheduler, ref_draws=2,
                       precompute_ref_log_probs=precompute)  # fmt: skip
        trainer.train()
        runs.append(losses(trainer))
    assert runs[0] == pytest.approx(runs[1], rel=1e-3, abs=1e-4)


def test_cached_reference_errors_spare_the_reference_pass(sd, cache, tmp_path, monkeypatch):
    trainer = make(sd.unet, cache, tmp_path, scheduler=sd.scheduler, ref_draws=2, precompute_ref_log_probs=True)
    trainer.reference_errors = trainer._precompute()
    calls = []
    forward = sd.unet.forward
    monkeypatch.setattr(sd.unet, "forward", lambda noisy, *a, **k: calls.append(len(noisy)) or forward(noisy, *a, **k))
    trainer.train()
    assert calls == [8] * 3  # one pass a step, of both halves together


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"timestep_set": [10]}, {"sample_latents": False}, {"ref_draws": 3}, {}]
)
def test_errors_of_another_reference_or_of_other_draws_are_not_used(sd, cache, tmp_path, tiny_unet, changed):
    options = {"scheduler": sd.scheduler, "ref_draws": 2, "precompute_ref_log_probs": True}
    first = make(copy.deepcopy(sd.unet), cache, tmp_path, **options)._precompute()
    same = make(copy.deepcopy(sd.unet), cache, tmp_path, **options)._precompute()
    assert torch.equal(first.errors, same.errors)
    unet = copy.deepcopy(sd.unet) if changed else tiny_unet(seed=1)
    other = make(unet, cache, tmp_path, **options | changed)._precompute()
    assert not torch.equal(first.errors, other.errors)


def test_errors_of_other_data_or_another_precision_are_not_used(sd, cache, tmp_path):
    options = {"scheduler": sd.scheduler, "ref_draws": 1, "precompute_ref_log_probs": True}
    data = [cache[i] for i in range(4)]  # without a fingerprint
    found = [make(copy.deepcopy(sd.unet), data, tmp_path, **options)._precompute().errors for _ in range(2)]
    assert torch.equal(*found)
    data[0]["mean_w"] = data[0]["mean_w"] + 1
    found.append(make(copy.deepcopy(sd.unet), data, tmp_path, **options)._precompute().errors)
    found.append(make(copy.deepcopy(sd.unet), data, tmp_path, bf16=True, **options)._precompute().errors)
    assert not torch.equal(found[1], found[2])
    assert not torch.equal(found[2], found[3])


@pytest.mark.parametrize(
    ("loss_type", "precompute"),
    [("sigmoid", True), ("sigmoid", False), ("hinge", False), ("ipo", True), ("agfsync_norm", False)],
)
def test_split_backward_gives_the_same_gradients(sd, cache, tmp_path, loss_type, precompute):
    runs = []
    for split in (False, True):
        trainer = make(
            copy.deepcopy(sd.unet), cache, tmp_path / str(split), scheduler=sd.scheduler, loss_type=loss_type,
            beta=1.0 if loss_type == "agfsync_norm" else 50.0, split_backward=split, ref_draws=2, optim="sgd",
            precompute_ref_log_probs=precompute, max_grad_norm=0.0, learning_rate=0.1,
        )  # fmt: skip
        batch = stack([cache[i] for i in range(4)])
        trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        if precompute:
            trainer.reference_errors = trainer._precompute()
        gradients = []
        for _ in range(2):  # at equality with the reference, and away from it
            loss = trainer.training_step(trainer.model, batch)
            gradients += [parameter.grad.clone() for parameter in trainer.unet.parameters() if parameter.requires_grad]
            trainer.optimizer.step()
            trainer.model.zero_grad()
        runs.append((torch.cat([gradient.flatten() for gradient in gradients]), loss))
    scale = runs[0][0].abs().max()
    assert scale > 0
    torch.testing.assert_close(runs[1][0] / scale, runs[0][0] / scale, rtol=0, atol=1e-5)
    torch.testing.assert_close(runs[1][1], runs[0][1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("split", [False, True])
def test_accumulated_small_batches_are_one_large_batch(sd, cache, tmp_path, split):
    runs = []
    for batch, parts in ((4, 1), (1, 4)):
        trainer = make(
            copy.deepcopy(sd.unet), cache, tmp_path / str(batch), scheduler=sd.scheduler, optim="sgd", max_steps=1,
            per_device_train_batch_size=batch, gradient_accumulation_steps=parts, ref_draws=2, learning_rate=1.0,
            max_grad_norm=0.0, split_backward=split and parts > 1,
        )  # fmt: skip
        start = trained(trainer)
        trainer.train()
        runs.append({name: value - start[name] for name, value in trained(trainer).items()})  # the gradient
    assert max(step.abs().max() for step in runs[0].values()) > 1e-2
    assert_equal_weights(runs[0], runs[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adapter", [True, False])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(sd, cache, tmp_path, adapter):
    options = {"scheduler": sd.scheduler, "adapter": adapter, "max_steps": 5, "per_device_train_batch_size": 3,
               "ref_draws": 2, "precompute_ref_log_probs": True, "save_steps": 2,
               "lr_scheduler_type": "cosine"}  # fmt: skip
    whole = make(copy.deepcopy(sd.unet), cache, tmp_path / "whole", **options)
    whole.train()
    again = make(copy.deepcopy(sd.unet), cache, tmp_path / "again", **options)
    again.train()
    assert_equal_weights(trained(whole), trained(again))
    resumed = make(copy.deepcopy(sd.unet), cache, tmp_path / "again", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "again" / "checkpoint-2"))
    assert resumed.state.global_step == 5
    assert_equal_weights(trained(whole), trained(resumed))


def test_gradient_checkpointing_changes_no_weight(sd, cache, tmp_path):
    runs = []
    for on in (False, True):
        trainer = make(
            copy.deepcopy(sd.unet), cache, tmp_path / str(on), scheduler=sd.scheduler, gradient_checkpointing=on
        )
        trainer.train()
        assert trainer.unet.is_gradient_checkpointing is on
        runs.append(trained(trainer))
    assert_equal_weights(*runs, rtol=1e-5, atol=1e-6)


def test_sdxl_conditions_and_a_step(sdxl, tmp_path, picture):
    rows = [
        {"caption": "a red circle", "good_jpg": picture(200, (40, 32)), "bad_jpg": picture(60, (32, 48))},
        {"caption": "two blue squares", "good_jpg": picture(190), "bad_jpg": picture(50)},
    ]
    cache = cache_pairs(rows, sdxl, tmp_path / "cache", resolution=32)
    batch = stack([cache[0], cache[1]])
    found = conditions_of(batch)
    assert found["encoder_hidden_states"].shape == (4, 16, 64)
    assert found["text_embeds"].shape == (4, sdxl.text_encoder_2.config.projection_dim)
    assert found["time_ids"].tolist() == [
        [40, 32, 4, 0, 32, 32], [32, 32, 0, 0, 32, 32], [32, 48, 0, 8, 32, 32], [32, 32, 0, 0, 32, 32],
    ]  # fmt: skip
    pooled = sdxl.encode_prompt(["a red circle"], device="cpu", do_classifier_free_guidance=False)[2]
    torch.testing.assert_close(found["text_embeds"][0], pooled[0], rtol=1e-4, atol=1e-5)
    trainer = make(copy.deepcopy(sdxl.unet), cache, tmp_path, scheduler=sdxl.scheduler, beta=None,
                   per_device_train_batch_size=2, max_steps=2)  # fmt: skip
    assert trainer.beta == 5000
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(0.693147, abs=1e-5)
    noisy, t = torch.randn(4, 4, 8, 8), torch.tensor([5, 5, 700, 700])
    added = {name: found[name] for name in ("text_embeds", "time_ids")}
    trainer.save_model(str(tmp_path / "tuned"))
    sdxl.register_modules(unet=copy.deepcopy(sdxl.unet))  # the fixture is shared
    with torch.no_grad():
        base = sdxl.unet(noisy, t, found["encoder_hidden_states"], added_cond_kwargs=added).sample
        tuned = trainer.unet(noisy, t, found["encoder_hidden_states"], added_cond_kwargs=added).sample
        sdxl.load_lora_weights(tmp_path / "tuned")
        loaded = sdxl.unet(noisy, t, found["encoder_hidden_states"], added_cond_kwargs=added).sample
    sdxl.unload_lora_weights()
    assert not torch.equal(base, tuned)
    assert torch.equal(loaded, tuned)


def test_bright_over_dark_is_learned_and_holds_on_new_pairs(sd, tmp_path, picture):
    from auscult.agfsync.shapes.models import load_pipeline

    sd.register_modules(vae=load_pipeline().vae)  # a trained one, which tells bright from dark

    def pairs(values):
        return [{"caption": "a red circle", "good_jpg": picture(200 + v), "bad_jpg": picture(40 + v)} for v in values]

    train = cache_pairs(pairs(range(0, 32, 2)), sd, tmp_path / "train", resolution=32)
    held_out = cache_pairs(pairs(range(1, 32, 2)), sd, tmp_path / "held-out", resolution=32)
    trainer = make(sd.unet, train, tmp_path, adapter=False, scheduler=sd.scheduler, eval_data=held_out, max_steps=50,
                   per_device_train_batch_size=8, learning_rate=5e-4, beta=200.0, logging_steps=25,
                   per_device_eval_batch_size=8)  # fmt: skip
    trainer.train()
    trainer.evaluate()
    found = trainer.state.log_history[-1]
    assert found["eval_rewards/accuracies"] > 0.9
    assert found["eval_errors/chosen_excess"] < 0 < found["eval_errors/rejected_excess"]


def test_the_evaluation_has_fixed_draws(sd, cache, tmp_path):
    trainer = make(sd.unet, cache, tmp_path, scheduler=sd.scheduler, eval_data=cache)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] == trainer.evaluate()["eval_loss"]


@pytest.mark.parametrize(("action", "split"), [("warn", False), ("stop", False), ("stop", True)])
def test_the_guard_sees_both_errors_rise(sd, cache, tmp_path, action, split):
    trainer = make(sd.unet, cache, tmp_path, adapter=False, scheduler=sd.scheduler, guard_window=2, guard_action=action,
                   max_steps=6, learning_rate=0.1, split_backward=split)  # fmt: skip
    with pytest.warns(UserWarning, match="worse than the reference"):
        trainer.train()  # at a rate that ruins the model
    assert (trainer.state.global_step < 6) is (action == "stop")
    trainer._excess.clear()
    trainer._excess.extend([(-1e-3, 2e-3), (-2e-3, 1e-3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer._guard()


@pytest.mark.parametrize("adapter", [True, False])
def test_half_precision_trains_from_ln_2_and_keeps_wide_weights(sd, cache, tmp_path, adapter):
    trainer = make(sd.unet, cache, tmp_path, adapter=adapter, scheduler=sd.scheduler, bf16=True)
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(0.693147, abs=1e-5)
    assert all(value.dtype == torch.float32 for value in trained(trainer).values())


def test_a_reference_in_half_precision_gets_its_own_type(sd, cache, tmp_path):
    """The released code casts the reference's inputs to float16 whatever the reference is."""
    for dtype in (torch.float64, torch.bfloat16):
        trainer = make(sd.unet, cache, tmp_path, adapter=False, scheduler=sd.scheduler, max_steps=1)
        trainer.ref_model.to(dtype)
        trainer.train()
        assert losses(trainer)[0] == pytest.approx(0.693147, abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"precompute_ref_log_probs": True}, "ref_draws"), ({"beta": -1.0}, "beta"), ({"loss_type": "dpo"}, "dpo"),
     ({"guard_action": "shout"}, "shout"), ({"sync_ref_model": True, "ref_model_mixup_alpha": 2.0}, "mixup"),
     ({"sync_ref_model": True, "precompute_ref_log_probs": True, "ref_draws": 2}, "fixed reference"),
     ({"timestep_set": [-1]}, "timestep_set"),
     ({"loss_type": "agfsync_norm", "batch_norm_compat": True, "split_backward": True}, "exclude")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        DiffusionDPOConfig(output_dir=str(tmp_path), use_cpu=True, **options)


def test_the_config_is_read_by_trl_s_parser(tmp_path):
    from trl import TrlParser

    path = tmp_path / "train.yaml"
    path.write_text(
        f"output_dir: {tmp_path}\nbeta: 1000\nref_draws: 4\nuse_cpu: true\ntimestep_set: [249, 999]\n", "utf-8"
    )
    (config,) = TrlParser(DiffusionDPOConfig).parse_args_and_config(["--config", str(path), "--loss_type", "hinge"])
    assert (config.beta, config.ref_draws, config.loss_type, config.timestep_set) == (1000, 4, "hinge", [249, 999])


def test_a_callback_of_trl_fits(sd, cache, tmp_path):
    from trl import RichProgressCallback

    trainer = make(sd.unet, cache, tmp_path, scheduler=sd.scheduler, callbacks=[RichProgressCallback()], max_steps=1)
    trainer.train()
    assert trainer.state.global_step == 1


def test_the_reference_follows_by_trl_s_callback_also_after_a_resume(sd, cache, tmp_path):
    options = {"scheduler": sd.scheduler, "adapter": False, "sync_ref_model": True, "ref_model_mixup_alpha": 0.5,
               "ref_model_sync_steps": 2, "max_steps": 4, "save_steps": 3}  # fmt: skip
    start = {name: value.clone() for name, value in sd.unet.named_parameters()}
    once = make(copy.deepcopy(sd.unet), cache, tmp_path / "once", **options | {"max_steps": 2})
    once.train()
    for name, value in once.ref_model.named_parameters():
        torch.testing.assert_close(value, 0.5 * start[name] + 0.5 * trained(once)[name])
    whole = make(copy.deepcopy(sd.unet), cache, tmp_path / "whole", **options)
    whole.train()
    resumed = make(copy.deepcopy(sd.unet), cache, tmp_path / "whole", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert_equal_weights(trained(whole), trained(resumed))
    assert weights_digest(whole.ref_model) == weights_digest(resumed.ref_model)
    with pytest.raises(InputError, match="sync_ref_model"):
        make(sd.unet, cache, tmp_path, scheduler=sd.scheduler, sync_ref_model=True)


def test_what_the_data_lacks_is_named(sd, tmp_path):
    with pytest.raises(InputError, match="mean_l"):
        stack([{"pair": torch.tensor(0), "mean_w": torch.zeros(1), "std_w": torch.zeros(1), "std_l": torch.zeros(1),
                "prompt_embeds": torch.zeros(1)}])  # fmt: skip
    with pytest.raises(InputError, match="noise_scheduler"):
        DiffusionDPOTrainer(sd.unet, args=DiffusionDPOConfig(output_dir=str(tmp_path), use_cpu=True))


def test_two_processes_take_the_steps_of_one(sd, cache, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file(sd.unet.state_dict(), tmp_path / "unet.safetensors")
    script = (
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from safetensors.torch import load_file, save_file\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from conftest import make_unet\n"
        "from test_trainer import make, trained\n"
        "from auscult.agfsync import PairCache\n"
        "from auscult.agfsync.shapes.models import make_scheduler\n"
        "unet = make_unet()\n"
        "unet.load_state_dict(load_file('unet.safetensors'))\n"
        "trainer = make(unet, PairCache('cache'), 'two', scheduler=make_scheduler(), per_device_train_batch_size=2,\n"
        "               ddp_backend='gloo', split_backward=True, optim='sgd')\n"
        "assert trainer.args.world_size == 2\n"
        "trainer.train()\n"
        "if trainer.is_world_process_zero():\n"
        "    save_file(trained(trainer), 'two.safetensors')\n"
    )
    for done in run_group("-c", script, Path(__file__).parent, processes=2, cwd=tmp_path):
        assert done.returncode == 0, done.stderr[-2000:]
    alone = make(sd.unet, cache, tmp_path / "one", scheduler=sd.scheduler, optim="sgd")
    start = trained(alone)
    alone.train()
    found = load_file(tmp_path / "two.safetensors")
    assert_equal_weights(found, trained(alone), rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(found[name], start[name], atol=1e-5) for name in start)
