"""A reward of one's own: any function of pictures and prompts.

python examples/own_reward.py --steps 20 --out runs/pink
kedge train emoji-rocm reward=examples/own_reward.py:pinkness     # the same by its name, from anywhere
"""

import argparse

import kedge


def pinkness(images, prompts):
    """How pink a picture is."""
    red, green, blue = images.unbind(1)
    return (red + blue - 2 * green).flatten(1).mean(1)


pinkness.differentiable = True  # gradients flow: ROCM may use it. Leave it out for a black box.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", help="the run folder")
    options = parser.parse_args()
    run = kedge.train(
        "emoji-rocm",
        reward=pinkness,
        training={"steps": options.steps, "batch_size": options.batch_size},
        watch={"samples_every": 0, "evaluate_every": 0},
        out=options.out,
    )
    print(kedge.evaluate(run, metrics=[pinkness, "pickscore@emoji"], count=8))


if __name__ == "__main__":
    main()
