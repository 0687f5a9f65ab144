// A rater's page. The server knows where the rater is; the page only shows it and sends one answer at a time.
"use strict";

const $ = (id) => document.getElementById(id);
const body = document.body;
const PAUSE = 140; // milliseconds for which a choice stays lit
const POLL = 8000; // between two looks at a study that is paused
const LONGEST = 86400000; // milliseconds: a day; a page may stand open for longer
const SLOW = 1000; // milliseconds after which waiting for pictures is explained

let state = null;
let busy = true; // while an answer is on its way or pictures are loading, keys do nothing
let started = false;
let shownAt = 0; // when the question appeared, less the time the page was hidden
let hiddenAt = 0;

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const address = (position, side) => `picture/${position}/${side}`;

async function ask(path, data) {
  const options = data === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data),
  };
  // An answer whose acknowledgement got lost is sent again; the server takes it once and says where we are.
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const answer = await fetch(path, { cache: "no-store", ...options });
      if (answer.status < 500) {
        say("");
        return { status: answer.status, data: await answer.json() };
      }
    } catch { /* no connection */ }
    say("No connection. Your answers are saved; trying again …");
    await wait(pause);
  }
}

function say(text) {
  $("toast").textContent = text;
  $("toast").hidden = !text;
}

function view(name) {
  body.dataset.view = name;
}

async function show(next) {
  const before = state;
  state = next;
  document.title = state.title;
  $("title").textContent = state.title;
  $("total").textContent = state.total;
  const asked = state.questions.length;
  $("each").textContent = asked > 1 ? `answer ${asked} questions about them` : "say which of the two you prefer";
  const share = state.total ? (state.position + state.question / asked) / state.total : 1;
  $("done").style.width = `${100 * share}%`;
  document.querySelector(".bar").setAttribute("aria-valuenow", Math.round(100 * share));
  for (const button of document.querySelectorAll(".undo")) {
    button.disabled = state.position + state.question === 0;
  }
  if (!state.open) return paused();
  if (state.position >= state.total) return view("finished");
  if (!started && state.position + state.question === 0) return view("intro");
  started = true;
  await showPair(before);
}

async function showPair(before) {
  const another = !before || before.position !== state.position || body.dataset.view !== "pair";
  // Pictures first: a new text above old pictures would mislead.
  const pictures = another ? await Promise.all(["left", "right"].map((side) => load(address(state.position, side)))) : [];
  pictures.forEach((picture, i) => {
    const image = $(["left", "right"][i]).querySelector("img");
    image.src = picture.src;
    image.classList.toggle("crisp", picture.naturalWidth <= 128);
  });
  const asked = state.questions.length;
  $("prompt").textContent = state.prompt;
  $("question").textContent = state.questions[state.question];
  $("of").textContent = asked > 1 ? `${state.question + 1} of ${asked}` : "";
  $("place").textContent = `${state.position + 1} / ${state.total}`;
  view("pair");
  if (asked > 1) flash($("question")); // the same pictures, but something else is asked
  if (another && state.position + 1 < state.total) { // the next pair, ahead
    for (const side of ["left", "right"]) new Image().src = address(state.position + 1, side);
  }
  shownAt = performance.now();
  hiddenAt = document.hidden ? shownAt : 0;
  busy = false;
}

function flash(element) {
  element.classList.remove("new");
  void element.offsetWidth; // lets the animation start again
  element.classList.add("new");
}

async function load(source) {
  const slow = setTimeout(say, SLOW, "Loading the pictures …");
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    const picture = new Image();
    picture.src = source;
    try {
      await picture.decode();
      clearTimeout(slow);
      say("");
      return picture;
    } catch {
      say("A picture did not load; trying again …");
      await wait(pause);
    }
  }
}

async function paused() {
  view("stopped");
  await wait(POLL);
  const answer = await ask("state");
  await show(answer.data);
}

async function choose(choice) {
  if (busy || body.dataset.view !== "pair") return;
  busy = true;
  const milliseconds = Math.min(Math.max(0, Math.round(performance.now() - shownAt)), LONGEST);
  $(choice).classList.add("chosen");
  const [answer] = await Promise.all([
    ask("vote", { position: state.position, question: state.question, choice, milliseconds, undone: state.undone }),
    wait(PAUSE),
  ]);
  $(choice).classList.remove("chosen");
  await follow(answer);
}

async function undo() {
  const asked = state ? state.questions.length : 1;
  const last = state ? state.position * asked + state.question - 1 : -1;
  if (last < 0 || (busy && body.dataset.view === "pair") || !["pair", "finished"].includes(body.dataset.view)) return;
  busy = true;
  // How many answers were taken back goes along, so that a late copy of an earlier request changes nothing.
  await follow(await ask("undo", { position: Math.floor(last / asked), question: last % asked, undone: state.undone }));
}

// Whether taken or refused, the server says where we are.
async function follow(answer) {
  const next = answer.status < 400 ? answer.data : answer.data.state;
  if (next) await show(next);
  else view("lost");
}

function begin() {
  started = true;
  show(state);
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.altKey || event.metaKey) return;
  if (body.dataset.view === "intro" && ["Enter", " ", "ArrowRight"].includes(event.key)) {
    event.preventDefault();
    return begin();
  }
  const choices = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" };
  if (event.key in choices && !event.ctrlKey) {
    event.preventDefault();
    choose(choices[event.key]);
  } else if (["Backspace", "ArrowUp", "z"].includes(event.key)) {
    event.preventDefault();
    undo();
  }
});
for (const choice of ["left", "right", "tie"]) $(choice).addEventListener("click", () => choose(choice));
for (const button of document.querySelectorAll(".undo")) button.addEventListener("click", undo);
$("start").addEventListener("click", begin);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt) shownAt += performance.now() - hiddenAt;
});

ask("state").then((answer) => (answer.status === 200 ? show(answer.data) : view("lost")));
