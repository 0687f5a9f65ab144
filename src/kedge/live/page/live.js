// Looks every few seconds at what the runs have written, and draws it; asks for a picture when told to.
"use strict";

const $ = (id) => document.getElementById(id);
const EVERY = 3000;
const COLOURS = 6;
const DASHES = ["", "7 4", "2 4", "9 3 2 3", "4 2", "1 3"]; // curves differ by more than colour
let runs = [];
let followsNewest = true;

function say(text) {
  $("toast").textContent = text;
  $("toast").hidden = !text;
}

function element(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

function shape(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

async function look() {
  try {
    const answer = await fetch("state", { cache: "no-store" });
    if (!answer.ok) throw new Error(`kedge watch answers with error ${answer.status}: see its terminal.`);
    runs = (await answer.json()).runs;
    say("");
    show();
  } catch (error) {
    say(error instanceof TypeError ? "No connection. Is kedge watch still running?" : error.message);
  }
  setTimeout(look, EVERY);
}

function show() {
  $("runs").replaceChildren(...runs.map(card));
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.series)))];
  $("charts").replaceChildren(...names.map(chart));
  for (const id of ["grid-run", "draw-run"]) options($(id));
  if (!$("prompt").value && document.activeElement !== $("prompt")) {
    $("prompt").value = runs[0]?.prompts[0] ?? "";
  }
  showGrid();
  document.body.dataset.ready = "yes";
}

function options(select) {
  const chosen = select.value;
  if (select.options.length !== runs.length) {
    select.replaceChildren(...runs.map((run, i) => new Option(run.name, String(i))));
    if (chosen) select.value = chosen;
  }
}

function card(run, i) {
  const item = element("li");
  item.style.setProperty("--tone", `var(--c${i % COLOURS})`);
  item.append(element("strong", run.name));
  if (run.trouble) {
    item.append(element("span", `⚠ cannot be read: ${run.trouble}`, "alarm"));
    return item;
  }
  item.append(element("span", `${run.state}: step ${run.step} of ${run.steps}`));
  const bar = element("progress");
  bar.max = run.steps;
  bar.value = run.step;
  bar.setAttribute("aria-label", `${run.name}: step ${run.step} of ${run.steps}`);
  item.append(bar, element("span", `${run.model} · ${run.algorithm} · ${run.reward}`), alarm(run.alarm));
  return item;
}

function alarm(state) {
  if (!state.looks) return element("span", "alarm: no look yet");
  if (state.now) return element("span", `⚠ alarm since step ${state.first}: ${state.fallen.join(", ") || "the judges"} fell`, "alarm");
  const once = state.first === null ? "" : `; it sounded at step ${state.first}`;
  const fell = state.fallen.length ? `; lower at the last look: ${state.fallen.join(", ")}` : "";
  return element("span", `alarm: silent after ${state.looks} looks${once}${fell}`);
}

function chart(name) {
  const width = 320, height = 170, left = 60, right = 8, top = 8, bottom = 24;
  const curves = runs.map((run, i) => [i, run.series[name]]).filter(([, points]) => points);
  const all = curves.flatMap(([, points]) => points);
  const xs = all.map((point) => point[0]), ys = all.map((point) => point[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (y0 === y1) [y0, y1] = [y0 - 1, y1 + 1];
  const x = (value) => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - right);
  const y = (value) => top + ((y1 - value) / (y1 - y0)) * (height - top - bottom);
  const ends = curves.map(([i, points]) => `${runs[i].name} ${short(points[0][1])} to ${short(points.at(-1)[1])}`);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name}: ${ends.join("; ")}` });
  svg.append(shape("title", {}, `${name}: ${ends.join("; ")}`));
  for (const value of [y0, (y0 + y1) / 2, y1]) {
    svg.append(shape("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "var(--line)" }));
    svg.append(shape("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  svg.append(shape("text", { x: left, y: height - 6 }, String(x0)));
  svg.append(shape("text", { x: width - right, y: height - 6, "text-anchor": "end" }, `step ${x1}`));
  for (const [i, points] of curves) {
    const path = points.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    svg.append(shape("path", {
      d: path, fill: "none", stroke: `var(--c${i % COLOURS})`, "stroke-width": 1.8,
      "stroke-dasharray": DASHES[i % DASHES.length],
    }));
  }
  const figure = element("figure");
  figure.append(element("figcaption", name.replace("/", ": ")), svg);
  return figure;
}

function short(value) { // at most 8 characters, for which there is room beside a chart
  return Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-2) ? value.toExponential(1) : String(+value.toPrecision(3));
}

function showGrid() {
  const run = runs[Number($("grid-run").value || 0)];
  const slider = $("grid-slider"), last = run ? run.grids.length - 1 : -1;
  slider.max = Math.max(0, last);
  if (followsNewest) slider.value = slider.max;
  const name = run?.grids[Number(slider.value)];
  $("grid").hidden = !name;
  if (!name) {
    $("grid-step").textContent = "none yet";
    return;
  }
  const step = Number(name.match(/\d+/)[0]);
  $("grid-step").textContent = String(step);
  const address = `grid/${$("grid-run").value || 0}/${name}`;
  if ($("grid").getAttribute("src") !== address) $("grid").src = address;
  $("grid").alt = `${run.name} at step ${step}: each prompt drawn by the base model and by the tuned one`;
}

function dataUrl(blob) { // the page's policy lets no blob: be shown
  return new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
  });
}

async function draw(event) {
  event?.preventDefault();
  const run = $("draw-run").value || "0", strength = $("strength").value;
  const query = new URLSearchParams({ prompt: $("prompt").value, seed: $("seed").value, strength });
  say("Drawing …");
  try {
    const answer = await fetch(`draw/${run}?${query}`, { cache: "no-store" });
    if (!answer.ok) return say((await answer.json()).error);
    $("picture").src = await dataUrl(await answer.blob());
    $("picture").hidden = false;
    $("picture").alt = `${$("prompt").value}, drawn by ${runs[Number(run)].name} with its adapter at ${strength}`;
    $("picture-words").textContent = $("picture").alt;
    say("");
  } catch {
    say("No connection. Is kedge watch still running?");
  }
}

$("grid-run").addEventListener("change", () => { followsNewest = true; showGrid(); });
$("grid-slider").addEventListener("input", () => { followsNewest = $("grid-slider").value === $("grid-slider").max; showGrid(); });
$("strength").addEventListener("input", () => { $("strength-value").textContent = $("strength").value; });
$("strength").addEventListener("change", () => { if (!$("picture").hidden) draw(); });
$("draw").addEventListener("submit", draw);
look();
