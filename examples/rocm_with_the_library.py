"""ROCM with the library and a loop of one's own: the same training as rocm_in_one_file.py.

    python examples/rocm_with_the_library.py --steps 80 --out fox-lora

Another algorithm, divergence, reward, model or way to backpropagate is another name; the eight lines of a step stay.
"""

import argparse

import torch

import kedge


def train(steps=120, batch_size=8, prompts="emoji-activities-train", log=print):
    """Returns the policy, whose adapter is trained, and the mean reward of each step."""
    torch.manual_seed(0)  # of the adapter
    policy = kedge.load_policy("lcm", "emoji-lcm", steps=4, lora=kedge.LoraConfig(rank=16, alpha=32))
    context = kedge.Context(
        policy,
        reward=kedge.load_reward("pickscore@emoji"),
        prompts=kedge.PromptStream(kedge.load_prompts(prompts), shuffle=False),
        generator=torch.Generator().manual_seed(0),
        backprop=kedge.Backprop(),  # last_steps=2 truncates, checkpoint=True recomputes each step
        batch_size=batch_size,
    )
    algorithm = kedge.ROCM(divergence="kl", beta=2e-2)
    optimizer = torch.optim.AdamW(policy.trainable(), lr=1.5e-3, weight_decay=0.0)
    history = []
    while len(history) < steps:
        for losses in algorithm.updates(context):  # a batch of experience: the losses of each optimizer step
            for loss in losses:  # micro-batches: each graph is freed before the next is built
                loss.value.backward()
                history.append(loss.metrics["reward"].mean().item())
            torch.nn.utils.clip_grad_norm_(policy.trainable(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        log(f"step {len(history)}/{steps}: reward {history[-1]:.4f}")
    return policy, history


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", default="rocm-lora", help="the folder for the LoRA")
    options = parser.parse_args()
    policy, _ = train(options.steps, options.batch_size)
    print(kedge.evaluate(policy, metrics=["pickscore@emoji", "oracle"], prompts="emoji-activities-held-out", count=8))
    print(f"saved: {kedge.save_lora(policy, options.out)['diffusers']}")


if __name__ == "__main__":
    main()
