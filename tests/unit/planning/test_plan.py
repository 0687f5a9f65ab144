"""What is told before anything is loaded: counts that are known exactly, and the same code as the real step's."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kedge.algorithms.rocm import ROCM
from kedge.config import RunConfig, parse_config
from kedge.planning import timing
from kedge.planning.attention import ATTENTION
from kedge.planning.attention_share import share_of_attention
from kedge.planning.operations import Operation, OperationCost, TensorSpec, count_operations, counted
from kedge.planning.plan import forecast_of, plan
from kedge.planning.skeletons import meta_pipeline, meta_policy
from kedge.planning.step import StepCost, count_step
from kedge.planning.timing import DeviceRates, Elapsed, Timer
from kedge.policies import load_policy
from kedge.policies.base import LENGTHS
from kedge.policies.families.catalogue import LCM, layout_of
from kedge.policies.random_depth import depth_probabilities


def config_for(folder: Path | str, **changes) -> RunConfig:
    model = {"name": str(folder), "kind": "lcm", "steps": 4, "lora": {"rank": 2}} | changes.pop("model", {})
    base = {"model": model, "reward": "compressibility_proxy", "prompts": "animals-45", "algorithm": "rocm"}
    return parse_config(base | {"training": {"batch_size": 2, "device": "cpu"}} | changes)


def test_products_convolutions_and_attention_are_counted_as_by_hand() -> None:
    with torch.device("meta"):
        layer, convolution = nn.Linear(10, 20, bias=False), nn.Conv2d(3, 8, 3, padding=1, bias=False)
        x, image, heads = torch.empty(4, 10), torch.empty(2, 3, 16, 16), torch.empty(2, 8, 64, 40)
    with count_operations() as counter:
        layer(x), convolution(image), F.scaled_dot_product_attention(heads, heads[:, :, :7], heads[:, :, :7])
    expected = 2 * 4 * 10 * 20 + 2 * 2 * 16 * 16 * 9 * 3 * 8 + 4 * 2 * 8 * 64 * 7 * 40
    assert counter.cost.flops == expected


def test_to_look_at_a_tensor_in_another_way_takes_nothing() -> None:
    x = torch.empty(4, 6, device="meta")
    with count_operations() as counter:
        x.view(2, 12).unsqueeze(0).transpose(0, 1)[:1].expand(3, 1, 12).squeeze()
    assert (counter.cost.calls, counter.cost.traffic, counter.cost.peak) == (0, 0, 0)


def test_what_is_computed_on_the_way_is_computed() -> None:
    """Real numbers among meta tensors, of the same form as theirs: a table of weights, say."""
    with count_operations() as counter:
        for _ in range(2):
            torch.zeros(4, device="meta") + 1
            table = torch.zeros(4) + 1
            table[1:3] = torch.tensor([2.0, 3.0])
    assert table.tolist() == [1, 2, 3, 1]
    assert counter.cost.calls == 4


def test_memory_is_counted_while_the_backward_pass_needs_it() -> None:
    """A chain of n tanh keeps n outputs; checkpointed, it keeps its input and, at the worst moment, one stretch."""
    size = 1000 * 1000 * 4

    def chain(x: torch.Tensor) -> torch.Tensor:
        for _ in range(4):
            x = x.tanh()
        return x

    def peak(checkpointed: bool) -> float:
        x = torch.empty(1000, 1000, device="meta", requires_grad=True)
        with count_operations() as counter:
            y = x
            for _ in range(3):
                y = torch.utils.checkpoint.checkpoint(chain, y, use_reentrant=False) if checkpointed else chain(y)
            y.sum().backward()
        return counter.cost.peak / size

    assert 12 <= peak(checkpointed=False) <= 15
    assert 6 <= peak(checkpointed=True) <= 9


def test_longer_rollouts_cost_what_two_shorter_ones_say(micro_lcm: Path, monkeypatch) -> None:
    """The line through K = 2 and K = 3 hits the true count at K = 5."""
    config = config_for(micro_lcm, model={"steps": 5})
    whole = count_step(config)
    monkeypatch.setattr("kedge.planning.meta_step.WHOLE", 2)
    counted = count_step(config)
    assert counted.step.flops == whole.step.flops
    assert counted.step.peak == pytest.approx(whole.step.peak, rel=0.02)


@pytest.fixture(scope="module")
def of_depth(micro_lcm: Path) -> Callable[[int], OperationCost]:
    """A step that goes back through as many sampling steps."""
    return cache(lambda depth: count_step(config_for(micro_lcm, backprop={"last_steps": depth})).step)


@pytest.mark.parametrize("last_steps", [None, 3, 2])
def test_random_depth_is_planned_as_the_mean_over_its_depths(
    micro_lcm: Path, of_depth: Callable[[int], OperationCost], last_steps: int | None
) -> None:
    p, deepest = 0.6, last_steps or 4
    planned = count_step(config_for(micro_lcm, backprop={"random_depth": p, "last_steps": last_steps})).step
    mean = 0.0
    for depth, probability in enumerate(depth_probabilities(p, deepest), start=1):
        fixed = of_depth(depth)
        mean += probability * fixed.flops
    assert planned.flops == pytest.approx(mean, rel=1e-9)
    assert planned.peak == fixed.peak  # the deepest's


def test_the_rehearsed_step_makes_the_calls_of_a_real_one(micro_lcm: Path, free: StepCost) -> None:
    """Twice the batch is twice the arithmetic; without a reference it is less; parameters are the loaded model's."""
    one, two = (count_step(config_for(micro_lcm, training={"batch_size": n})) for n in (1, 2))
    assert two.step.flops == pytest.approx(2 * one.step.flops, rel=0.05)
    assert free.step.flops < 0.7 * two.step.flops
    policy = load_policy("lcm", micro_lcm, steps=2, guidance=7.5)
    for name in ("unet", "vae", "text_encoder"):
        part = getattr(policy.pipeline, name)
        assert two.networks.sizes[name][0] == sum(p.numel() for p in part.parameters())


@pytest.mark.parametrize("algorithm", ["rlcm", "dpok"])
def test_policy_gradients_are_planned_too(micro_lcm: Path, algorithm: str) -> None:
    counted = count_step(config_for(micro_lcm, algorithm=algorithm))
    assert counted.step.flops > 0
    assert counted.step.peak > 0


LEARNERS: dict[str, tuple[dict, bool]] = {
    "hybrid": ({"name": "hybrid"}, True),  # scores each step once more
    "hybrid, held": ({"name": "hybrid", "target": {"rms": 0.1}}, True),
    "refl": ({"name": "refl"}, False),
    "soft_q": ({"name": "soft_q"}, False),
    "alignprop": ({"name": "alignprop"}, False),
    "stages": ({"name": "rocm", "anchor": "auto"}, True),
    "pathwise": ({"name": "rlcm", "last_step": "pathwise"}, True),
}


@pytest.fixture(scope="module")
def free(micro_lcm: Path) -> StepCost:
    """A step of ROCM without a reference."""
    return count_step(config_for(micro_lcm, algorithm={"name": "rocm", "divergence": "none"}))


@pytest.mark.parametrize(("algorithm", "more"), LEARNERS.values(), ids=LEARNERS)
def test_every_learner_is_gone_through(micro_lcm: Path, free: StepCost, algorithm: dict, more: bool) -> None:
    """Nothing is left out, and it takes more or less arithmetic than ROCM without an anchor, as its passes say."""
    planned = count_step(config_for(micro_lcm, algorithm=algorithm))
    assert planned.unknown == ()
    assert (planned.step.flops > free.step.flops) == more
    assert planned.step.peak > 0


def test_a_surrogate_is_loaded_beside_the_reward(micro_lcm: Path) -> None:
    """The gradient goes through the surrogate, the reward scores, and only what watches is watched by."""
    settings = {"name": "hybrid", "surrogate": "ridge(clipscore)"}
    watch = {"evaluate_every": 1, "metrics": ["aesthetic"]}
    planned = count_step(config_for(micro_lcm, algorithm=settings, reward="blipscore", watch=watch))
    alone = count_step(config_for(micro_lcm, algorithm={"name": "hybrid"}, reward="blipscore", watch=watch))
    names = ["reward clipscore", "reward blipscore", "reward aesthetic"]
    assert [name for name in planned.networks.sizes if name.startswith("reward")] == names
    assert planned.step.flops > 2 * alone.step.flops
    assert planned.look.score.flops == alone.look.score.flops


def test_a_forecast_says_everything_in_words(micro_lcm: Path, monkeypatch) -> None:
    monkeypatch.setattr("kedge.planning.plan.seconds", lambda *_: Elapsed(12.0, 12.0))
    config = config_for(micro_lcm, memory={"offload_text_encoders": True})
    predicted = forecast_of(config)
    text = "\n".join(plan(config))
    for word in ("parameters: ", "unet ", "trained:", "peak memory:", "(the process)", "12 s a step", "disk:"):
        assert word in text
    assert "text_encoder" not in text
    elsewhere = config_for(micro_lcm, training={"device": "cuda"})
    if not torch.cuda.is_available():
        assert forecast_of(elsewhere).seconds is None
        assert forecast_of(elsewhere).peak < predicted.peak  # tensors alone
        text = "\n".join(plan(elsewhere))
        assert "this machine has no such device to time\ntime on an H100: " in text
        assert "computed from its data sheet, not measured" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta": 0.01}, "anchor: 10 nats away from the base cost 0.1 in the reward's own numbers"),
        ({"beta": 0.01, "beta_unit": 1.6}, "anchor: 10 nats away from the base cost 0.1 standard deviations"),
        ({"beta": 1e-5, "beta_unit": 1.6, "divergence": "hellinger"}, "warning: β holds next to nothing: 10 nats"),
        ({"divergence": "js"}, "warning: algorithm.beta was not chosen for this divergence: 10 nats"),
        ({"divergence": "none"}, None),
    ],
)
def test_what_a_distance_costs_is_told(micro_lcm: Path, monkeypatch, settings: dict, words: str | None) -> None:
    monkeypatch.setattr("kedge.planning.plan.seconds", lambda *_: Elapsed(12.0, 12.0))
    text = "\n".join(plan(config_for(micro_lcm, algorithm={"name": "rocm", **settings})))
    assert words in text if words else "nats" not in text


@pytest.mark.parametrize("takes", [timing.LARGE + 1, timing.LARGE / 2])
def test_what_takes_long_is_called_once(monkeypatch, takes) -> None:
    called: list[float] = []
    monkeypatch.setattr(timing.Timer, "_once", lambda *_: called.append(takes) or takes)
    square = torch.empty(2, 2, device="meta")
    operation = next(iter(counted(lambda: square @ square).operations))
    assert Timer(torch.device("cpu"))(operation) == Elapsed(takes, takes)
    assert len(called) == (1 if takes > timing.LARGE else 1 + timing.REPEATS)


def test_attention_is_timed_by_a_share_of_its_heads(monkeypatch) -> None:
    query, key = (
        torch.empty(2, length, 8, 40, device="meta").transpose(1, 2).requires_grad_() for length in (960, 820)
    )
    mask = torch.zeros(2, 1, 960, 820, device="meta")
    cost = counted(lambda: F.scaled_dot_product_attention(query, key, key, attn_mask=mask).sum().backward())
    kinds = [each for each in cost.operations if each.function.overloadpacket in ATTENTION]
    ran: list[Callable[[], object]] = []
    monkeypatch.setattr(timing.Timer, "_once", lambda _, work, __: ran.append(work()) or 1e-3)
    threads = torch.get_num_threads()
    assert len(kinds) == 2
    assert 8 % threads == 0
    for operation in kinds:
        once = Timer(torch.device("cpu"))(operation)
        assert once is not None
        assert once.best == pytest.approx(1e-3 * 8 / threads)
        assert ran[-1][0].shape[:3] == (2, threads, 960)  # its result, or the gradient of its queries


@pytest.mark.parametrize("shape", [(1, 8, 9216, 40), (2, 10, 4096, 64), (1, 24, 4429, 128)])
def test_a_part_of_an_attention_is_as_much_of_its_arithmetic(shape: tuple[int, int, int, int]) -> None:
    """Pairs of tokens and heads, forward and backward; what is left is one head for each thread, and a quarter long."""
    query = torch.empty(shape, device="meta", requires_grad=True)
    cost = counted(lambda: F.scaled_dot_product_attention(query, query, query).sum().backward())
    kinds = [each for each in cost.operations if each.function.overloadpacket in ATTENTION]
    assert len(kinds) == 2
    for operation in kinds:
        part, parts = share_of_attention(operation, threads=2)
        tensors = [torch.empty(arg.shape, device="meta") for arg in part.args if isinstance(arg, TensorSpec)]
        assert tensors[0].shape == (shape[0], 2, shape[2] // 4, shape[3])
        assert ATTENTION[part.function.overloadpacket](*tensors) * parts == pytest.approx(operation.flops)


@pytest.mark.parametrize(
    ("query", "key", "mask"),
    [
        ((6, 40, 16), (6, 24, 16), None),
        ((40, 16), (24, 16), None),
        ((2, 3, 4, 40, 16), (2, 3, 4, 24, 16), (40, 24)),
        ((4, 8, 40, 16), (1, 8, 24, 16), (1, 1, 40, 24)),
    ],
)
def test_attention_of_any_shape_is_counted_and_timed(query: tuple, key: tuple, mask: tuple | None) -> None:
    """As torch's own: the same shape, gradients of the same shapes, and a kernel that can be run."""
    inputs = [torch.empty(shape, device="meta", requires_grad=True) for shape in (query, key, key)]
    attended: list[torch.Tensor] = []

    def work() -> None:
        bias = None if mask is None else torch.empty(mask, device="meta")
        attended.append(F.scaled_dot_product_attention(*inputs, attn_mask=bias))
        attended[0].sum().backward()

    cost = counted(work)
    plain = F.scaled_dot_product_attention(*(torch.zeros(shape) for shape in (query, key, key)))
    assert attended[0].shape == plain.shape
    assert [tensor.grad.shape for tensor in inputs] == [tensor.shape for tensor in inputs]
    timer = Timer(torch.device("cpu"))
    kinds = [each for each in cost.operations if each.function.overloadpacket in ATTENTION]
    assert len(kinds) == 2
    assert all(timer(operation) is not None for operation in kinds)


def test_numbers_that_are_equal_but_of_other_types_are_other_arguments() -> None:
    dtypes: list[torch.dtype] = []

    def work() -> None:
        whole = torch.empty(4, dtype=torch.int64, device="meta")
        dtypes.extend((whole * factor).dtype for factor in (2, 2.0))
        dtypes.extend(torch.full((4,), value, device="meta").dtype for value in (1, 1.0, True))

    counted(work)
    assert dtypes == [torch.int64, torch.float32, torch.int64, torch.float32, torch.bool]


def test_a_function_is_corrected_by_its_own_factor(monkeypatch) -> None:
    """A convolution that takes thrice what the rates say says nothing about products, which take twice as long."""
    with torch.device("meta"):
        image, kernel, a, b = torch.empty(1, 8, 8, 8), torch.empty(8, 8, 3, 3), torch.empty(64, 64), torch.empty(64, 8)
    cost = counted(lambda: (torch.conv2d(image, kernel), a @ a, a @ b))
    rates = DeviceRates(flops=1.0, bandwidth=float("inf"), call=0.0)
    monkeypatch.setattr(timing, "measure_rates", lambda *_: rates)
    monkeypatch.setattr(timing, "LONGEST", 60.0)
    factors = {"convolution": 3.0, "mm": 2.0}

    def once(timer: Timer, operation: Operation) -> Elapsed | None:
        if operation.args[1].shape == (64, 8):
            return None  # it cannot be timed: its function's factor is known
        seconds = operation.flops * factors[operation.function.overloadpacket.__name__]
        return Elapsed(seconds, seconds)

    monkeypatch.setattr(timing.Timer, "__call__", once)
    whole = 3.0 * 2 * 9 * 8 * 8 * 36 + 2.0 * (2 * 64**3 + 2 * 64 * 64 * 8)
    assert timing.seconds(cost, torch.device("cpu")).best == pytest.approx(whole)


def test_the_rates_of_a_device_are_measured_once() -> None:
    cpu = torch.device("cpu")
    rates = timing.measure_rates(cpu, torch.float32)
    assert rates is timing.measure_rates(cpu, torch.float32)
    assert min(rates.flops, rates.bandwidth, rates.call) > 0


def test_the_time_of_a_step_is_that_of_its_operations(micro_lcm: Path, monkeypatch) -> None:
    """Everything that was counted can be run by itself, but what draws random numbers; times add up by their counts."""
    monkeypatch.setattr(timing, "REPEATS", 1)
    step = count_step(config_for(micro_lcm)).step
    assert sum(step.operations.values()) == step.calls
    assert sum(count * operation.flops for operation, count in step.operations.items()) == step.flops
    timer = Timer(torch.device("cpu"))
    alone = {operation.function.__name__ for operation in step.operations if timer(operation) is None}
    assert all("rand" in name for name in alone), alone

    monkeypatch.setattr(timing.Timer, "__call__", lambda self, operation: Elapsed(1e-3, 2e-3))
    monkeypatch.setattr(timing, "SHARE", 1.0)
    for times in (1, 3):
        elapsed = timing.seconds(step * times, torch.device("cpu"))
        assert elapsed.best == pytest.approx(1e-3 * step.calls * times, rel=1e-3)
        assert elapsed.usual == pytest.approx(2e-3 * step.calls * times, rel=1e-3)


def test_what_cannot_be_timed_takes_its_share_of_what_the_rates_expect(monkeypatch) -> None:
    """Three products, of which the one of a quarter of the arithmetic cannot be run: as far off as the others."""
    with torch.device("meta"):
        a, b = torch.empty(8, 8), torch.empty(8, 16)
    cost = counted(lambda: (a @ a, a @ b, a @ a))
    monkeypatch.setattr(timing, "measure_rates", lambda *_: DeviceRates(flops=1.0, bandwidth=float("inf"), call=0.0))
    monkeypatch.setattr(timing, "LONGEST", 60.0)
    wide = {operation for operation in cost.operations if operation.args[1].shape == (8, 16)}

    def once(timer: Timer, operation: Operation) -> Elapsed | None:
        return None if operation in wide else Elapsed(1.0, 2.0)

    monkeypatch.setattr(timing.Timer, "__call__", once)
    elapsed = timing.seconds(cost, torch.device("cpu"))
    assert (elapsed.best, elapsed.usual) == pytest.approx((2 * 1.0 * 2, 2 * 2.0 * 2))


@pytest.mark.parametrize(
    ("elapsed", "words"),
    [
        (Elapsed(2.0, 2.1), "2 s"),
        (Elapsed(2.0, 3.0), "2 to 3 s"),
        (Elapsed(80.0, 600.0), "80 s to 10 min"),
        (Elapsed(6 * 3600.0, 9.5 * 3600), "6 h to 9 h 30 min"),
    ],
)
def test_repeats_that_differ_are_a_range(elapsed: Elapsed, words: str) -> None:
    assert str(elapsed) == words


def test_a_machine_that_others_keep_busy_is_said_to_be(micro_lcm: Path, monkeypatch) -> None:
    """Work that waits instead of computing is what a thread without a processor looks like."""
    timer = Timer(torch.device("cpu"))
    timer._once(lambda: time.sleep(0.05), [])
    assert timer.busy
    quiet = Timer(torch.device("cpu"))
    quiet._elapsed, quiet._computing = 1.0, 0.95
    assert not quiet.busy
    config = config_for(micro_lcm)
    for busy in (False, True):
        monkeypatch.setattr("kedge.planning.plan.seconds", lambda *_, busy=busy: Elapsed(12.0, 36.0, busy))
        text = "\n".join(plan(config))
        assert "12 to 36 s a step" in text
        assert ("keep this machine busy" in text) == busy


def test_an_operation_is_run_on_tensors_of_its_own_form() -> None:
    x, kernel = torch.empty(2, 3, 8, 8, device="meta"), torch.empty(4, 3, 3, 3, device="meta")
    with count_operations() as counter:
        torch.conv2d(x.transpose(2, 3), kernel, padding=1)
    (operation,) = counter.cost.operations
    assert operation.args[0] == TensorSpec((2, 3, 8, 8), (192, 64, 1, 8), torch.float32, lasting=True)
    work, _ = Timer(torch.device("cpu"))._prepare(operation)
    assert work().shape == (2, 4, 8, 8)


def test_models_that_are_not_here_are_planned_by_their_name_or_not_at_all() -> None:
    assert layout_of("SimianLuo/LCM_Dreamshaper_v7") in LCM.layouts
    assert meta_pipeline("nobody/knows-this", LCM) is None
    assert forecast_of(config_for("nobody/knows-this")) is None


def test_the_true_size_is_known_without_files() -> None:
    pipeline = meta_pipeline("SimianLuo/LCM_Dreamshaper_v7", LCM)
    assert sum(p.numel() for p in pipeline.unet.parameters()) == 859_602_884  # 859,520,964 and the guidance embedding's
    assert pipeline.unet.conv_in.weight.is_meta


def test_half_of_the_terms_cost_half(micro_lcm: Path) -> None:
    """Every term of a detached reference takes one forward pass, whichever are drawn."""
    none, half, every = (
        count_step(config_for(micro_lcm, model={"steps": 3}, algorithm=settings)).step.flops
        for settings in (
            {"name": "rocm", "divergence": "none"},
            {"name": "rocm", "reference_gradient": "detached", "reference_steps": 1},
            {"name": "rocm", "reference_gradient": "detached"},
        )
    )
    assert half - none == pytest.approx((every - none) / 2, rel=0.01)
    assert ROCM(reference_steps=1).reference_steps == 1


def test_a_plan_reads_as_many_words_as_the_model() -> None:
    """Z-Image's network sees no filling: a plan that took 512 tokens was ten times too slow in the emoji world."""
    prompts = [
        "a fox",
        "three cats riding bikes on a green background, and a dog that watches them from afar",
        "x " * 900,
    ]
    model = parse_config({"model": "emoji-flow", "reward": "pickscore@emoji", "prompts": "emoji-held-out"}).model
    planned = meta_policy(model, 4).encode(prompts).tensors[LENGTHS].tolist()
    loaded = load_policy("z-image-turbo", "emoji-flow", steps=4, guidance=0.0).encode(prompts).tensors[LENGTHS].tolist()
    assert planned == loaded
    assert planned[0] < planned[1] < planned[2] == 512
