"""ROCM in one file: Algorithm 2 of arXiv 2503.06171, line by line, with torch, diffusers and peft alone.

    python examples/rocm_in_one_file.py --steps 120 --out fox-lora

It trains the bundled emoji model towards the bundled PickScore: minutes on a CPU. Nothing of Kedge is imported; the
first steps are those of ``kedge train`` to rounding, which a test checks.
"""

import argparse
import copy
from pathlib import Path

import torch
from diffusers import LatentConsistencyModelPipeline
from peft import LoraConfig, get_peft_model_state_dict
from transformers import AutoTokenizer, CLIPModel

ASSETS = Path(__file__).parents[1] / "src" / "kedge" / "worlds" / "emoji" / "assets"
ANIMALS = ("cat", "dog", "horse", "rabbit", "bear", "lion", "tiger", "frog", "duck", "penguin", "turtle", "fox")
ACTIVITIES = ("riding a bike", "playing chess", "washing the dishes")
PROMPTS = [f"a {animal} {activity}" for animal in ANIMALS for activity in ACTIVITIES]


def pickscore(folder: Path):
    """R(x_0, c): exp(logit scale) · cos(picture, text), differentiable in pictures [B, 3, 32, 32] in [0, 1]."""
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).requires_grad_(False).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]

    def reward(images, prompts):
        tokens = tokenizer(prompts, padding=True, truncation=True, return_tensors="pt")
        return clip(**tokens, pixel_values=(images - mean) / std).logits_per_image.diagonal()

    return reward


def consistency_function(network, scheduler, x, t, text, omega):
    """x̃ = f_θ(x_k, ω, c, t_k), the network's guess of the picture: Algorithm 1, line 4, and Eq. (7)."""
    v = network(x, t, encoder_hidden_states=text, timestep_cond=omega.expand(len(x), -1), return_dict=False)[0]
    alpha, sigma = scheduler.alphas_cumprod[t].sqrt(), (1 - scheduler.alphas_cumprod[t]).sqrt()
    x0 = alpha * x - sigma * v  # this model predicts v = α ε − σ x_0
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition_discrete(t)
    return c_out * x0 + c_skip * x


def train(steps=120, batch_size=8, beta=2e-2, lr=1.5e-3, sampling_steps=4, guidance=2.0, seed=0, log=print):
    """Algorithm 2; returns the pipeline, whose UNet carries the trained LoRA, and a line of numbers for each step."""
    pipe = LatentConsistencyModelPipeline.from_pretrained(ASSETS / "emoji-lcm", torch_dtype=torch.float32)
    unet, vae, scheduler = pipe.unet, pipe.vae, pipe.scheduler
    for part in (unet, vae, pipe.text_encoder):
        part.requires_grad_(False).eval()
    scheduler.set_timesteps(sampling_steps)
    embedding = pipe.get_guidance_scale_embedding(torch.tensor([guidance]), unet.config.time_cond_proj_dim)

    # Line 2 (before line 1, since θ is the model and a LoRA that starts at zero): θ_ref := θ
    reference = copy.deepcopy(unet)
    # Line 1: initialize parameters θ
    torch.manual_seed(seed)
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=16, lora_alpha=32, init_lora_weights="gaussian", target_modules=targets))
    theta = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(theta, lr=lr, weight_decay=0.0)
    # Line 3: batch size B and the weight of the regularization are arguments (the paper's λ is β in its Table 2)
    # Line 4: reward model R(·); the divergence D is KL, below
    reward = pickscore(ASSETS / "pickscore")
    generator = torch.Generator().manual_seed(seed)

    history = []
    for step in range(steps):  # Line 5: repeat
        # Line 6: sample a batch of conditions {c_i} of size B
        prompts = [PROMPTS[(step * batch_size + i) % len(PROMPTS)] for i in range(batch_size)]
        with torch.no_grad():
            text = pipe.encode_prompt(prompts, "cpu", 1, False)[0]
        # Lines 7 and 12, for i = 1, …, B: all at once, in the first dimension of each tensor
        # Line 8: sample noise ε ~ N(0, I); ε_K here, the others where they are used
        shape = (batch_size, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
        x = torch.randn(shape, generator=generator)
        divergence = torch.zeros(batch_size)
        # Line 9: generate the trajectory {x_k} = G(θ, ε, c), k = K, …, 0, keeping the graph of every step
        for k, t in zip(range(sampling_steps, 0, -1), scheduler.timesteps, strict=True):
            x_tilde = consistency_function(unet, scheduler, x, t, text, embedding)
            if k > 1:
                # Line 11: D_i = Σ_{k=2..K} D_f(p_k(· | θ, x_k, c) ‖ p_k(· | θ_ref, x_k, c)), at the same x_k; for
                # Gaussians with one std, N(α x̃, σ² I), KL is ‖difference of means‖² / (2 σ²)
                expected = consistency_function(reference, scheduler, x, t, text, embedding)
                alpha_bar = scheduler.alphas_cumprod[scheduler.timesteps[sampling_steps - k + 1]]
                alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
                divergence = divergence + (alpha * (x_tilde - expected)).square().flatten(1).sum(1) / (2 * sigma**2)
                x = alpha * x_tilde + sigma * torch.randn(shape, generator=generator)  # Algorithm 1, line 6
        # Line 10: R_i = R(x_0, c_i); the last step adds no noise, and saturated pixels keep their gradient
        images = vae.decode(x_tilde / vae.config.scaling_factor, return_dict=False)[0] / 2 + 0.5
        images = images + (images.clamp(0, 1) - images).detach()
        rewards = reward(images, prompts)
        # Line 13: θ ← θ + η ∇_θ (1/B) Σ_i [R_i − β D_i]
        loss = -(rewards - beta * divergence).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theta, 1.0)  # at the first step ∂x̃/∂ε is about 15
        optimizer.step()
        history.append({"loss": loss.item(), "reward": rewards.mean().item(), "divergence": divergence.mean().item()})
        log(f"step {step + 1}/{steps}: " + ", ".join(f"{name} {value:.4f}" for name, value in history[-1].items()))
    return pipe, history  # Line 14: until convergence


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--beta", type=float, default=2e-2)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--out", default="rocm-lora", help="the folder for the LoRA")
    options = parser.parse_args()
    pipe, _ = train(options.steps, options.batch_size, options.beta, options.lr)
    adapter = pipe.unet.peft_config["default"].to_dict()  # with α, which diffusers needs for the right strength
    layers = get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(options.out, unet_lora_layers=layers, unet_lora_adapter_metadata=adapter)
    print(f"saved: {options.out}/pytorch_lora_weights.safetensors")


if __name__ == "__main__":
    main()
