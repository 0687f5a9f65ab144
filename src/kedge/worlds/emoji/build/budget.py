"""How much of everything the recipe takes."""

from __future__ import annotations

from dataclasses import dataclass

from kedge.worlds.emoji.build.loop import Schedule


@dataclass(frozen=True)
class Budget:
    """How much of everything: ``cpu`` is some nine hours of one core, ``h100`` two calls of ten minutes on one.

    On an H200 a process made 7 (diffusion, distillation) to 20 steps a second (decoder), whether or not two others ran
    beside it: the networks are too small for the card, and launching their kernels is what takes the time.
    """

    pool: int
    vae: Schedule
    decoder: Schedule
    diffusion: Schedule
    lcm: Schedule
    flow: Schedule
    flow_few: Schedule
    clip: Schedule
    pictures: int  # prompts whose candidates are judged
    pickscore: Schedule
    hpsv2: Schedule
    bert: Schedule
    blip: Schedule
    imagereward: Schedule  # a batch counts rankings
    captioner: Schedule
    answerer: Schedule  # a batch counts questions, two for each picture


BUDGETS = {
    # Measured on an H200: decoder, clip, diffusion; vae and lcm by the rate of a part. The rest never ran there.
    # In the first call vae, then decoder, beside clip (360 s); in the second diffusion, then lcm (550 s).
    "h100": Budget(
        pool=200_000,
        vae=Schedule(steps=4_000, batch=256, lr=2e-3, muon=0.015, ema=0.998),
        decoder=Schedule(steps=2_200, batch=256, lr=1e-3, muon=0.01, ema=0.998),
        clip=Schedule(steps=1_500, batch=512, lr=1e-3, ema=0.998),
        diffusion=Schedule(steps=2_200, batch=512, lr=1e-3, muon=0.005, warmup=200, ema=0.9985),
        lcm=Schedule(steps=1_500, batch=512, lr=3e-4, ema=0.9985, warmup=60),
        flow=Schedule(steps=1_600, batch=512, lr=1e-3, muon=0.005, ema=0.995, warmup=100),
        flow_few=Schedule(steps=1_200, batch=512, lr=5e-4, ema=0.995, warmup=100),
        pictures=4_000,
        pickscore=Schedule(steps=2_000, batch=128, lr=4e-4, ema=0.99, warmup=50),
        hpsv2=Schedule(steps=1_000, batch=128, lr=3e-4, ema=0.99, warmup=50),
        bert=Schedule(steps=600, batch=256, lr=3e-3, ema=0.99, warmup=50),
        blip=Schedule(steps=2_200, batch=512, lr=1e-3, ema=0.99, warmup=100),
        imagereward=Schedule(steps=1_000, batch=64, lr=4e-4, ema=0.99, warmup=50),
        captioner=Schedule(steps=900, batch=384, lr=1e-3, ema=0.99, warmup=50),
        answerer=Schedule(steps=3_000, batch=256, lr=1e-3, ema=0.995, warmup=100),
    ),
    "cpu": Budget(
        pool=100_000,
        vae=Schedule(steps=6_000, batch=24, lr=2e-3, muon=0.015, warmup=100, ema=0.998),
        decoder=Schedule(steps=10_000, batch=24, lr=1e-3, muon=0.01, warmup=100, ema=0.998),
        clip=Schedule(steps=500, batch=128, lr=1e-3, warmup=100, ema=0.99),
        diffusion=Schedule(steps=12_000, batch=48, lr=1e-3, muon=0.006, ema=0.9985),
        lcm=Schedule(steps=5_500, batch=32, lr=2e-4, ema=0.998, warmup=100),
        flow=Schedule(steps=4_900, batch=48, lr=1e-3, muon=0.005, ema=0.998, warmup=100),
        flow_few=Schedule(steps=2_000, batch=32, lr=3e-4, ema=0.998, warmup=100),
        pictures=1_500,
        pickscore=Schedule(steps=2_000, batch=48, lr=4e-4, ema=0.99, warmup=50),
        hpsv2=Schedule(steps=1_000, batch=48, lr=3e-4, ema=0.99, warmup=50),
        bert=Schedule(steps=600, batch=64, lr=3e-3, ema=0.99, warmup=50),
        blip=Schedule(steps=2_200, batch=128, lr=1e-3, ema=0.99, warmup=100),
        imagereward=Schedule(steps=1_000, batch=20, lr=4e-4, ema=0.99, warmup=50),
        captioner=Schedule(steps=900, batch=96, lr=1e-3, ema=0.99, warmup=50),
        answerer=Schedule(steps=1_600, batch=64, lr=1e-3, muon=0.005, ema=0.99, warmup=60),
    ),
    "smoke": Budget(
        pool=512,
        vae=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        decoder=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        diffusion=Schedule(steps=4, batch=8, lr=6e-4, warmup=2),
        lcm=Schedule(steps=4, batch=8, lr=3e-4, warmup=2),
        flow=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        flow_few=Schedule(steps=4, batch=8, lr=3e-4, warmup=2),
        clip=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        pictures=20,
        pickscore=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        hpsv2=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        bert=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        blip=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        imagereward=Schedule(steps=4, batch=4, lr=1e-3, warmup=2),
        captioner=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        answerer=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
    ),
}
