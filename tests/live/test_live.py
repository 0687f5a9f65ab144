"""``kedge watch``: what the page is told of runs, who may ask, the slider, and the page in a real browser."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
import yaml
from PIL import Image

from helpers.browser import chromium
from helpers.training_world import recipe
from kedge.config import load_config, parse_config
from kedge.live.runs import check_runs, run_state
from kedge.runs.folder import RunFolder
from kedge.training.run import train
from kedge.workflows.watch import LiveServer, live_server

PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
FORGED = "<img src=x onerror=document.title=1>"


def write_run(folder: Path, steps: int = 40, alarm_at: int | None = None, **changes: Any) -> Path:
    """A run folder as a training leaves it, with an invented log."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe(training__steps=50, **changes)))
    lines: list[dict[str, Any]] = [{"step": 0, "held_out/oracle": 0.4}]
    for step in range(1, steps + 1):
        line: dict[str, Any] = {"step": step, "reward": 0.1 * step, "divergence": 0.01 * step, "lr": None}
        if step % 10 == 0:
            sounds = alarm_at is not None and step >= alarm_at
            line |= {"held_out/oracle": 0.4 - 0.001 * step, "alarm": float(sounds), "alarm/jury": float(sounds)}
        lines.append(line)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (0, 20):
        Image.new("RGB", (64, 32), (step, 0, 0)).save(folder / "samples" / f"step-{step:06d}.png")
    return folder


class Serving:
    """A page that runs in a thread; stopped when the block ends."""

    def __init__(self, live: LiveServer):
        self.url = live.url
        self._server = uvicorn.Server(uvicorn.Config(live.app, log_level="error", access_log=False))
        self._thread = threading.Thread(target=self._server.run, args=([live.listening],), daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def test_what_a_run_says_of_itself(tmp_path):
    run = write_run(tmp_path / "one", alarm_at=30)
    state = run_state(run, "one")
    assert (state["step"], state["steps"], state["state"]) == (40, 50, "training")
    assert state["grids"] == ["step-000000.png", "step-000020.png"]
    assert [step for step, _ in state["series"]["held_out/oracle"]] == [0, 10, 20, 30, 40]
    assert state["series"]["held_out/oracle"][-1][1] == pytest.approx(0.36)
    assert "lr" not in state["series"], "nulls make no curve"
    assert state["alarm"] == {"looks": 4, "first": 30, "now": True, "fallen": ["jury"]}
    assert run_state(write_run(tmp_path / "two", steps=50), "two")["state"] == "finished"


@pytest.mark.parametrize("trouble", ["moved", "broken"])
def test_one_run_that_cannot_be_read_does_not_take_the_others_down(trouble, tmp_path):
    whole, other = write_run(tmp_path / "whole"), write_run(tmp_path / "other")
    with Serving(live_server([whole, other], port=0)) as page:
        if trouble == "moved":
            other.rename(tmp_path / "elsewhere")
        else:
            (other / "config.yaml").write_text("garbage")
        first, second = httpx2.get(f"{page.url}state").json()["runs"]
    assert (first["step"], second["state"]) == (40, "unreadable")
    assert "config.yaml" in second["trouble"]
    assert second.keys() >= first.keys()


def test_a_run_that_its_guard_ended_is_no_stalled_one(tmp_path):
    """How it ended is written last, and forgotten when it goes on."""
    run = write_run(tmp_path / "one")
    long_ago = time.time() - 86_400
    os.utime(run / "metrics.jsonl", (long_ago, long_ago))
    assert run_state(run, "one")["state"] == "stalled"
    RunFolder(run).ended.write_text('{"ended": "stopped"}')
    assert run_state(run, "one")["state"] == "stopped"
    RunFolder(run).open(load_config(run), 1, "cpu")
    assert run_state(run, "one")["state"] == "stalled"


def test_an_alarm_is_told_since_it_sounds_without_a_break(tmp_path):
    run = write_run(tmp_path / "one")
    log = [{"step": n, "alarm": float(n in (20, 30, 60, 70))} for n in range(10, 80, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert run_state(run, "one")["alarm"] == {"looks": 7, "first": 60, "now": True, "fallen": []}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log[:5]))
    assert run_state(run, "one")["alarm"]["first"] == 20


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    points = run_state(write_run(tmp_path / "long", steps=2000), "long")["series"]["reward"]
    assert len(points) <= 301
    assert points[0] == [1, 0.1]
    assert points[-1] == [2000, 200.0]


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text(yaml.safe_dump(recipe()))
    state = run_state(tmp_path / "new", "new")
    assert state["step"] == 0
    assert state["series"] == {}
    assert state["alarm"]["looks"] == 0


def test_folders_that_are_no_runs_are_named(tmp_path):
    write_run(tmp_path / "first")
    with pytest.raises(ValueError, match=r"frist is not a run folder.* Did you mean 'first'"):
        check_runs([tmp_path / "first", tmp_path / "frist"])


def test_on_this_machine_no_token_and_no_other_name_for_it(tmp_path):
    run = write_run(tmp_path / "one")
    (tmp_path / "secret.png").write_bytes(b"x")
    with Serving(live_server([run], port=0)) as page:
        assert page.url.startswith("http://127.0.0.1:")
        assert httpx2.get(page.url).headers["content-security-policy"].startswith("default-src 'none'")
        assert httpx2.get(f"{page.url}state").json()["runs"][0]["name"] == "one"
        assert httpx2.get(f"{page.url}grid/0/step-000020.png").headers["content-type"] == "image/png"
        for path in ("grid/0/step-000099.png", "grid/1/step-000020.png", "grid/0/..%2F..%2Fsecret.png", "page/x", "x"):
            assert httpx2.get(f"{page.url}{path}").status_code == 404, path
        elsewhere = {"host": "evil.example:80"}
        assert httpx2.get(f"{page.url}state", headers=elsewhere).status_code == 400
        for query in ("", "prompt=x&seed=a", "prompt=x&strength=99", f"prompt={'x' * 501}"):
            assert httpx2.get(f"{page.url}draw/0?{query}").status_code == 400, query
        refused = httpx2.get(f"{page.url}draw/0?prompt=a+cat")
        assert refused.status_code == 409
        assert "no whole checkpoint" in refused.json()["error"]


def test_for_other_machines_everything_is_behind_a_token(tmp_path):
    live = live_server([write_run(tmp_path / "one")], host="0.0.0.0", port=0)
    token = live.url.rstrip("/").rpartition("/")[2]
    assert len(token) >= 20
    port = live.listening.getsockname()[1]
    with Serving(live):
        base = f"http://127.0.0.1:{port}"
        assert httpx2.get(f"{base}/{token}/state").status_code == 200
        for path in ("/", "/state", "/x/state", "/page/live.js", f"/{token[:-1]}/state"):
            assert httpx2.get(f"{base}{path}").status_code == 404, path


@pytest.fixture(scope="module")
def trained(micro_lcm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of a tiny consistency model, with an adapter that changes its pictures."""
    model = {"name": str(micro_lcm), "kind": "lcm", "steps": 2, "lora": {"rank": 2}}
    data = recipe(model=model, training__steps=2, optimizer={"lr": 0.3}, algorithm="rocm")
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(parse_config(data), folder)
    return folder


def test_the_slider_goes_from_the_base_to_the_tuned_model(trained):
    """Strength 0 is the base bit for bit, 1 the tuned model, and what lies between lies between."""
    from kedge.pixels import to_uint8
    from kedge.policies.sampling import draw
    from kedge.workflows.load_run import load_run

    policy = load_run(trained, "cpu").policy
    tuned = to_uint8(draw(policy, ["a cat"], [3]))[0].numpy()
    with policy.reference():
        base = to_uint8(draw(policy, ["a cat"], [3]))[0].numpy()
    assert not np.array_equal(base, tuned)
    with Serving(live_server([trained], port=0, device="cpu")) as page:
        pictures = {}
        for strength in (0, 0.5, 1):
            answer = httpx2.get(f"{page.url}draw/0?prompt=a+cat&seed=3&strength={strength}", timeout=120)
            assert answer.status_code == 200, answer.text
            pictures[strength] = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert np.array_equal(pictures[0], base)
    assert np.array_equal(pictures[1], tuned)
    assert not np.array_equal(pictures[0.5], base)
    assert not np.array_equal(pictures[0.5], tuned)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desktop", "phone"])
def test_the_page_in_a_browser(browser, trained, tmp_path, context):
    runs = [trained, write_run(tmp_path / "cheats", alarm_at=30, reward="oracle", algorithm="rlcm")]
    with Serving(live_server(runs, port=0, device="cpu")) as server:
        page = browser.new_context(**context).new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: line.type == "error" and problems.append(line.text))
        page.goto(server.url, timeout=90_000)
        page.wait_for_selector('body[data-ready="yes"]', timeout=60_000)
        assert page.locator("#runs li").count() == 2
        assert "alarm since step 30" in page.locator("#runs li").nth(1).inner_text()
        overlaid = page.locator('#charts svg[aria-label^="reward:"] path')
        assert overlaid.count() == 2
        assert len({overlaid.nth(i).get_attribute("stroke-dasharray") for i in range(2)}) == 2, "not by colour alone"
        page.select_option("#grid-run", "1")
        assert "cheats at step 20" in str(page.locator("#grid").get_attribute("alt"))
        page.locator("#grid-slider").fill("0")
        assert "cheats at step 0" in str(page.locator("#grid").get_attribute("alt"))

        with (runs[1] / "metrics.jsonl").open("a") as log:  # it goes on training, and the page follows
            log.write(json.dumps({"step": 41, "reward": 9.0}) + "\n")
        page.wait_for_function(
            "() => document.querySelector('#runs').innerText.includes('step 41 of 50')", timeout=30_000
        )

        page.fill("#prompt", FORGED)
        page.locator("#strength").fill("0.5")
        page.click("#draw button")
        page.wait_for_function("() => !document.querySelector('#picture').hidden", timeout=120_000)
        assert page.evaluate("document.querySelector('#picture').naturalWidth") == 64
        assert "0.5" in page.locator("#picture-words").inner_text()
        assert page.title() == "Kedge: runs"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is off-screen"
        assert page.evaluate("[...document.images].every((image) => image.hidden || image.alt)")
        page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        page.context.close()
    assert not problems


@pytest.mark.parametrize("ends", [(0.00125, 0.01), (-0.0123, 0.0456), (-1.23e-10, -3.21e-10)])
def test_the_numbers_beside_a_curve_are_whole(browser, tmp_path, ends):
    run = write_run(tmp_path / "one")
    points = [{"step": step, "lr": value} for step, value in enumerate(ends)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    with Serving(live_server([run], port=0, device="cpu")) as server:
        page = browser.new_page()
        page.goto(server.url, timeout=90_000)
        page.wait_for_selector('#charts svg[aria-label^="lr:"] text', state="attached", timeout=60_000)
        lefts = page.evaluate("[...document.querySelectorAll('#charts text')].map((text) => text.getBBox().x)")
        page.context.close()
    assert len(lefts) == 5
    assert min(lefts) >= 0
