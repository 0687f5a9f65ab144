// The owner's page: looks every few seconds, and shows what is there.
"use strict";

const $ = (id) => document.getElementById(id);
const EVERY = 3000;
let shown = null;

async function ask(path, data) {
  const options = data === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data),
  };
  try {
    const answer = await fetch(path, { cache: "no-store", ...options });
    const found = await answer.json();
    say(answer.ok ? "" : found.error);
    if (answer.ok) show(found);
  } catch {
    say("No connection to the study's server.");
  }
}

function say(text) {
  $("toast").textContent = text;
  $("toast").hidden = !text;
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function bar(share) {
  const outer = element("div", undefined, "bar");
  outer.setAttribute("aria-hidden", "true"); // the numbers stand beside it
  const inner = element("div");
  inner.style.width = `${100 * share}%`;
  outer.append(inner);
  return outer;
}

function ago(time) {
  if (!time) return "–";
  const seconds = Math.max(0, Date.now() / 1000 - time);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return "just now";
}

function show(next) {
  shown = next;
  document.title = next.title;
  $("title").textContent = next.title;
  const asked = next.questions.length > 1 ? ` · ${next.questions.length} questions each` : "";
  const models = next.models.length === 1 ? `two pictures each by ${next.models[0]}` : next.models.join(" against ");
  $("lead").textContent = `${next.pairs.length} pairs${asked} · ${models}`;
  $("state").textContent = next.open ? "running" : "stopped";
  $("state").classList.toggle("open", next.open);
  $("toggle").textContent = next.open ? "Stop" : "Go on";
  $("done").style.width = `${next.wanted ? (100 * next.votes) / next.wanted : 0}%`;
  $("votes").textContent = `${next.votes} of ${next.wanted} votes`;
  $("twins").hidden = !next.twins;
  $("raters").replaceChildren(...next.raters.map(raterRow));
  showPairs(next.pairs);
}

function raterRow(rater) {
  const row = element("tr");
  const pairs = element("td");
  pairs.append(bar(rater.total ? rater.done / rater.total : 0), `${Math.floor(rater.done)} / ${rater.total}`);
  const link = new URL(`/${rater.link}`, location.href).href;
  const copy = element("button", "Copy link", "plain");
  copy.setAttribute("aria-label", `Copy link of ${rater.name}`);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link);
      copy.textContent = "Copied";
      copy.removeAttribute("aria-label");
    } catch {
      window.prompt("The rater's link", link); // no clipboard on plain http
    }
  });
  const action = element("td");
  action.append(copy);
  const seconds = rater.seconds === null ? "–" : rater.seconds.toFixed(1);
  row.append(element("td", rater.name), action, pairs, element("td", seconds), element("td", ago(rater.last)));
  return row;
}

function showPairs(pairs) {
  const grid = $("pairs");
  while (grid.children.length < pairs.length) {
    const cell = element("button");
    const index = grid.children.length;
    cell.append(element("div"));
    cell.addEventListener("click", () => look(shown.pairs[index]));
    grid.append(cell);
  }
  pairs.forEach((pair, i) => {
    const cell = grid.children[i];
    const votes = Math.round(10 * pair.votes) / 10;
    cell.firstChild.style.height = `${pair.wanted ? (100 * pair.votes) / pair.wanted : 0}%`;
    cell.title = `${votes} of ${pair.wanted}: ${pair.prompt}`;
    cell.setAttribute("aria-label", `pair ${pair.id}, ${votes} of ${pair.wanted} judged`);
  });
}

function look(pair) {
  for (const side of ["first", "second"]) {
    $(side).src = `picture/${pair.id}/${side}`;
    $(side).alt = `${side} picture of: ${pair.prompt}`;
  }
  $("prompt").textContent = pair.prompt;
  $("look").hidden = false;
}

$("toggle").addEventListener("click", () => ask("open", { open: !shown.open }));
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  ask("raters", { name: $("name").value });
  $("name").value = "";
});
ask("progress");
setInterval(() => document.hidden || ask("progress"), EVERY);
