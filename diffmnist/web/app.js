// The page: controls to sampler, sampler to pictures. One function a panel; each redraws itself when one of its controls moves.
import { canny } from "./canny.js";
import { classify, decode, encode, model } from "./networks.js";
import { makePad, nearSegment, show, showGrid, showMasked, showSigned } from "./pictures.js";
import { addNoise, combine, generator, guided, inpaint, multistepConsistency, normal, NULL, SAMPLERS, slerp } from "./samplers.js";

const $ = (id) => document.getElementById(id);
const NAMES = { ddim: "DDIM", dpm_solver: "DPM-Solver++ (2M)", euler: "Euler", midpoint: "Midpoint" };

// ---- Controls

// links to the notebooks lead where the page is told that they are
const PAGES = document.documentElement.dataset.pages ?? "https://github.com/diffmnist/diffmnist/blob/main/nbs/{}.ipynb";
for (const link of document.querySelectorAll("[data-notebook]")) link.href = PAGES.replace("{}", link.dataset.notebook);

for (const output of document.querySelectorAll("label output")) {
  const input = $(output.htmlFor.value), write = () => (output.textContent = input.value);
  input.addEventListener("input", write);
  write();
}

// ten classes, and none unless it makes no sense, as radio buttons; chosen(id) is the class, 10 for none
function classButtons(id, first, none = true) {
  const box = document.createElement("div");
  for (const y of [0, 1, 2, 3, 4, ...(none ? [NULL] : []), 5, 6, 7, 8, 9]) {
    const label = document.createElement("label"), input = document.createElement("input"), face = document.createElement("span");
    Object.assign(input, { type: "radio", name: id, value: y, checked: y === first });
    face.textContent = y === NULL ? "none" : y;
    label.append(input, face);
    box.append(label);
  }
  $(id).append(box);
}
const chosen = (id) => Number(document.querySelector(`input[name="${id}"]:checked`).value);
const number = (id) => Number($(id).value);

// "New noise" beside a seed
function dice(button, seed) {
  $(button).addEventListener("click", () => {
    $(seed).value = Math.floor(Math.random() * 1e6);
    $(seed).dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// lets the browser draw and react, but not more often than it can: a wait may take 4 ms
let drawn = 0;
async function painted() {
  if (performance.now() - drawn < 30) return;
  await new Promise((resolve) => setTimeout(resolve));
  drawn = performance.now();
}

// a task of which only the newest call matters: older ones end at their next check, stale()
function newest(status, task) {
  let calls = 0;
  return async () => {
    const mine = ++calls, stale = () => mine !== calls;
    $(status).classList.add("busy");
    try {
      await painted();
      if (!stale()) await task(stale);
    } catch (error) {
      $(status).textContent = `This went wrong: ${error.message}`;
      throw error;
    } finally {
      if (!stale()) $(status).classList.remove("busy");
    }
  };
}

// the last step of a sampler, and each on its way; null if a newer call came
async function follow(steps, stale, each = () => {}) {
  let last = null;
  for await (const step of steps) {
    await painted();
    if (stale()) return null;
    each(step);
    last = step;
  }
  return last;
}

const joined = (arrays) => Float32Array.from(arrays.flatMap((x) => [...x]));

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(2)} s`;

async function reading(x) {
  const [p] = await classify(x), best = p.indexOf(Math.max(...p));
  return `the classifier reads a ${best} (${Math.floor(100 * p[best])} %)`;
}

// ---- Watch: one digit, every step

function watchPanel() {
  let frames = [], toPixels = null;
  const usual = { cfg_film: ["dpm_solver", 20, 2], cond_flow: ["midpoint", 10, 2], pixel_cfg: ["dpm_solver", 10, 1] }; // sampler, steps, guidance

  function chooseModel() {
    const [sampler, n, w] = usual[$("watch-model").value], flow = $("watch-model").value === "cond_flow";
    const names = flow ? ["euler", "midpoint"] : ["ddim", "dpm_solver"];
    $("watch-sampler").replaceChildren(...names.map((name) => new Option(NAMES[name], name, false, name === sampler)));
    for (const [id, value] of Object.entries({ "watch-n": n, "watch-w": w })) {
      $(id).value = value;
      $(id).dispatchEvent(new Event("input"));
    }
    $("watch-eta").disabled = flow;
  }

  async function showFrame() {
    const k = number("watch-step"), frame = frames[k];
    if (!frame) return;
    frame.pixels ??= await Promise.all([toPixels(frame.x), toPixels(frame.x0)]);
    if (frames[k] !== frame || k !== number("watch-step")) return;
    show($("watch-x"), frame.pixels[0]);
    show($("watch-x0"), frame.pixels[1]);
    showSigned($("watch-score"), frame.score);
    $("watch-where").textContent = `step ${k} of ${frames.length - 1}, t = ${frame.t}`;
  }

  const update = newest("watch-status", async (stale) => {
    const m = await model($("watch-model").value);
    if (stale()) return;
    const random = generator(number("watch-seed")), name = $("watch-sampler").value, n = number("watch-n"), w = number("watch-w");
    const start = performance.now(), noise = normal(random, m.size), options = { n, clip: m.clip, eta: number("watch-eta"), random };
    const fresh = [];
    let before = { t: m.sched.T, x: noise };
    const last = await follow(SAMPLERS[name](guided(m.net, [chosen("watch-class")], w), noise, m.sched, options), stale, ({ t, x, x0, eps }) => {
      fresh.push({ ...before, x0, score: eps.map((v) => -v / m.sched.sigma[before.t]) });
      before = { t, x };
    });
    if (!last) return;
    const x = await m.toPixels(last.x), evaluations = n * (name === "midpoint" ? 2 : 1) * (w === 0 || w === 1 ? 1 : 2);
    const time = seconds(start);
    fresh.push({ ...last, x0: last.x, score: fresh.at(-1).score, pixels: [x, x] });
    [frames, toPixels] = [fresh, m.toPixels];
    $("watch-step").max = $("watch-step").value = n;
    await showFrame();
    const did = `${n} step${n > 1 ? "s" : ""}, ${evaluations} network evaluation${evaluations > 1 ? "s" : ""}, ${time}`;
    $("watch-status").textContent = `${did}.`;
    const found = await reading(x);
    if (stale()) return;
    $("watch-status").textContent = `${did}; ${found}.`;
    const ten = Array.from({ length: 10 }, (_, k) => fresh[Math.round((k * n) / 9)]);
    const strip = await m.toPixels(joined([...ten.map((frame) => frame.x), ...ten.map((frame) => frame.x0)]));
    if (!stale()) showGrid($("watch-strip"), strip, 10);
  });

  let playing = 0;
  async function play() {
    const mine = playing ? (playing = 0) : (playing = performance.now());
    $("watch-play").textContent = mine ? "Stop" : "Play";
    for (let k = 0; mine && playing === mine && k < frames.length; k++) {
      $("watch-step").value = k;
      await showFrame();
      await new Promise((resolve) => setTimeout(resolve, Math.max(40, 2000 / frames.length)));
    }
    if (playing === mine) playing = 0;
    if (!playing) $("watch-play").textContent = "Play";
  }

  classButtons("watch-class", 7);
  chooseModel();
  dice("watch-dice", "watch-seed");
  $("watch-play").addEventListener("click", play);
  $("watch-step").addEventListener("input", () => ((playing = 0), showFrame()));
  $("watch-model").addEventListener("change", chooseModel);
  for (const kind of ["input", "change"]) document.querySelector("#watch .controls").addEventListener(kind, update);
  return async () => {
    await update();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
  };
}

// ---- Draw: ControlNet, SDEdit, inpainting

function drawPanel() {
  const drawing = new Float32Array(784).fill(-1), known = new Float32Array(784).fill(1);
  const mode = () => document.querySelector('input[name="draw-mode"]:checked').value;
  const texts = {
    controlnet: ["Your strokes' edges", "Its edges condition a frozen network, through a trained copy of its encoder.", "10_controlnet",
                 "Draw a digit here, large and in the middle. Its edges are all that the network sees."],
    sdedit: ["Where sampling starts", "The drawing gets noise, and the sampler takes it away again: towards digits.", "12_editing",
             "Draw a crooked digit, or half of one, and move the strength."],
    inpaint: ["What is known", "The known pixels are put back after every step; the hidden ones follow from them.", "12_editing",
              "Draw or take an example, then hide a part with the third tool: it is sampled anew."],
  };
  let tool = "pen", sketched = true; // the drawing at first is ours, until the first stroke

  const cursor = makePad($("draw-pad"), stroke, () => {
    showDrawing();
    update();
  });

  function showDrawing() {
    const at = cursor();
    if (mode() === "inpaint") showMasked($("draw-pad"), drawing, known);
    else show($("draw-pad"), drawing);
    if (!at) return;
    const brush = $("draw-pad").getContext("2d");
    brush.fillStyle = at.down ? "#5cc4c4" : "#f0883e";
    brush.fillRect(at.x, at.y, 1, 1);
  }

  const ink = (i, distance) => {
    drawing[i] = Math.max(drawing[i], Math.min(1, 2 * (1.9 - distance) - 1));
    known[i] = 1;
  };

  function wipe() {
    drawing.fill(-1);
    known.fill(1);
    sketched = false;
  }

  function stroke(...segment) {
    if (sketched && tool === "pen") wipe();
    const change = {
      pen: [1.9, ink],
      eraser: [2.5, (i) => ((drawing[i] = -1), (known[i] = 1))],
      hide: [3, (i) => (known[i] = 0)],
    }[tool];
    nearSegment(...segment, ...change);
    showDrawing();
  }

  function chooseTool(name) {
    tool = name;
    for (const other of ["pen", "eraser", "hide"]) $(`tool-${other}`).setAttribute("aria-pressed", other === name);
  }

  function chooseMode() {
    const [seen, hint, notebook, note] = texts[mode()], link = document.createElement("a");
    Object.assign(link, { href: PAGES.replace("{}", notebook), textContent: { controlnet: "ControlNet", sdedit: "SDEdit", inpaint: "Inpainting" }[mode()] });
    $("draw-hint").replaceChildren(`${hint} `, link);
    $("draw-seen-caption").textContent = seen.toLowerCase();
    $("draw-note").textContent = note;
    $("draw-strength-box").hidden = mode() !== "sdedit";
    $("tool-hide").disabled = mode() !== "inpaint";
    chooseTool(mode() === "inpaint" && known.every(Boolean) && drawing.some((v) => v > 0) ? "hide" : tool === "hide" ? "pen" : tool);
    showDrawing();
  }

  const empty = () => drawing.every((v) => v < 0);

  const ways = {
    // the picture that the network sees, and the steps
    async controlnet(label, random) {
      const m = await model("controlnet"), edges = canny(drawing);
      const f = guided((x, t, labels) => m.net(x, t, labels, { edges }), [label], label === NULL ? 1 : 2);
      return [m, edges, SAMPLERS.dpm_solver(f, normal(random, m.size), m.sched, { n: 20 })];
    },
    async sdedit(label, random) {
      const m = await model("cfg_film"), start = Math.round(number("draw-strength") * m.sched.T);
      const x = addNoise(await encode(drawing), start, normal(random, m.size), m.sched);
      const f = guided(m.net, [label], label === NULL ? 1 : 2);
      return [m, await decode(x), SAMPLERS.dpm_solver(f, x, m.sched, { n: Math.min(20, start), start })];
    },
    async inpaint(label, random) {
      const m = await model("pixel_cfg"), options = { n: 20, known: drawing, mask: known, clip: true, random };
      return [m, null, inpaint(guided(m.net, [label], 1), normal(random, m.size), m.sched, options)];
    },
  };

  const update = newest("draw-status", async (stale) => {
    if (empty()) {
      for (const id of ["draw-seen", "draw-out"]) show($(id), new Float32Array(784).fill(-1));
      $("draw-status").textContent = "Draw on the left.";
      return;
    }
    const way = mode(), [m, seen, steps] = await ways[way](chosen("draw-class"), generator(number("draw-seed")));
    if (stale()) return;
    if (seen) show($("draw-seen"), seen);
    else showMasked($("draw-seen"), drawing, known);
    const start = performance.now(), last = await follow(steps, stale, ({ x }) => way === "inpaint" && show($("draw-out"), x));
    if (!last) return;
    const x = await m.toPixels(last.x), time = seconds(start);
    show($("draw-out"), x);
    $("draw-status").textContent = `Sampled in ${time}; ${await reading(x)}.`;
  });

  classButtons("draw-class", NULL);
  dice("draw-dice", "draw-seed");
  for (const name of ["pen", "eraser", "hide"]) $(`tool-${name}`).addEventListener("click", () => chooseTool(name));
  $("draw-clear").addEventListener("click", () => {
    wipe();
    if (tool === "hide") chooseTool("pen");
    showDrawing();
    update();
  });
  $("draw-example").addEventListener("click", async () => {
    const m = await model("latent_one_step"), noise = normal(Math.random, m.size);
    const { value } = await SAMPLERS.euler(m.net, noise, m.sched, { n: 1 }).next();
    wipe();
    drawing.set(await m.toPixels(value.x));
    if (mode() === "inpaint") for (let i = 392; i < 784; i++) known[i] = 0; // the lower half
    showDrawing();
    update();
  });
  $("draw-mode").addEventListener("change", chooseMode);
  document.querySelector("#draw .controls").addEventListener("input", update);
  const five = [[20, 5], [10, 5], [9, 13], [15, 12], [19, 16], [17, 21], [10, 23]];
  for (let k = 1; k < five.length; k++) nearSegment(...five[k - 1], ...five[k], 1.9, ink);
  chooseMode();
  return update;
}

// ---- One step or fifty: the same noises through both flows

function racePanel() {
  const COUNT = 9;
  const notes = {
    latent_consistency: "On the left a network trained from scratch, without a teacher, to predict the whole step; on the right a flow of the same size.",
    latent_one_step: "On the left a flow that was straightened by reflow and distilled; on the right the flow it learned from.",
  };
  const warm = new Set();
  const plural = (n, word) => `${n} ${word}${n > 1 ? "s" : ""}`;

  // what the two sides do, by the network on the left: [the model's name, steps, network evaluations, noise -> steps of a sampler]
  function sides(few, many, noise, random) {
    const n = number("race-n"), flow = (m, f, steps) => SAMPLERS.euler(f, noise, m.sched, { n: steps });
    if (few.name === "latent_one_step") return [[few, 1, 1, flow(few, few.net, 1)], [many, n, n, flow(many, many.net, n)]];
    const w = number("race-w"), left = number("race-left"), labels = Array(COUNT).fill(chosen("race-class"));
    const f = (x, t) => few.net(x, t, labels, { s: 0, w });
    return [[few, left, left, multistepConsistency(f, noise, few.sched, { n: left, random })],
      [many, n, w === 1 ? n : 2 * n, flow(many, guided(many.net, labels, w), n)]];
  }

  const update = newest("race-status", async (stale) => {
    const name = $("race-model").value, withClass = name === "latent_consistency";
    $("race-note").textContent = `The same nine noises. ${notes[name]}`;
    $("race-with-class").hidden = !withClass;
    const [few, many] = await Promise.all([name, withClass ? "cond_flow" : "latent_flow"].map(model));
    if (stale()) return;
    const begin = () => {
      const random = generator(number("race-seed"));
      return sides(few, many, normal(random, COUNT * few.size), random);
    };
    if (!warm.has(name)) { // the first call of a network takes longer
      const first = await follow(begin()[0][3], stale);
      if (!first) return;
      await few.toPixels(first.x);
      warm.add(name);
    }
    const sure = [], each = [];
    for (const [i, [m, steps, evaluations, sampler]] of begin().entries()) {
      const id = ["race-one", "race-many"][i], start = performance.now(), last = await follow(sampler, stale);
      if (!last) return;
      const x = await m.toPixels(last.x);
      each.push((performance.now() - start) / COUNT);
      showGrid($(id), x, 3);
      sure.push((await classify(x)).filter((p) => Math.max(...p) > 0.9).length);
      $(`${id}-caption`).textContent = `${plural(steps, "step")}, ${plural(evaluations, "evaluation")}: ${each.at(-1).toFixed(0)} ms a digit`;
    }
    const found = `The classifier is sure (over 90 %) of ${sure[0]} of 9 on the left and of ${sure[1]} of 9 on the right`;
    $("race-status").textContent = `${found}; the left was ${(each[1] / each[0]).toFixed(0)} times as fast.`;
  });
  classButtons("race-class", 3, false);
  dice("race-dice", "race-seed");
  document.querySelector("#race .controls").addEventListener("input", update);
  return update;
}

// ---- Between two: nine noises on a great circle

function betweenPanel() {
  const COUNT = 9;
  let digits = null;

  async function showPart() {
    const k = number("between-part");
    $("between-caption").textContent = k === 0 ? "A" : k === COUNT - 1 ? "B" : `${Math.round((100 * k) / (COUNT - 1))} % of the way from A to B`;
    if (digits) show($("between-out"), digits.subarray(784 * k, 784 * (k + 1)));
  }

  const update = newest("between-status", async (stale) => {
    const m = await model("cond_flow");
    if (stale()) return;
    const ends = ["a", "b"].map((end) => normal(generator(number(`between-seed-${end}`)), m.size)), labels = ["between-a", "between-b"].map(chosen);
    const noise = new Float32Array(COUNT * m.size), parts = Array.from({ length: COUNT }, (_, k) => k / (COUNT - 1));
    parts.forEach((part, k) => noise.set(slerp(...ends, part), k * m.size));
    const rows = (y) => Array(COUNT).fill(y), start = performance.now();
    const f = async (x, t) => {
      const a = await m.net(x, t, rows(labels[0]));
      if (labels[0] === labels[1]) return a;
      const b = await m.net(x, t, rows(labels[1]));
      return a.map((v, i) => v + parts[Math.floor(i / m.size)] * (b[i] - v));
    };
    const last = await follow(SAMPLERS.midpoint(f, noise, m.sched, { n: 6 }), stale);
    if (!last) return;
    digits = await m.toPixels(last.x);
    const time = seconds(start);
    showGrid($("between-strip"), digits, COUNT, 2);
    showPart();
    const [a, b] = await Promise.all([0, COUNT - 1].map((k) => reading(digits.slice(784 * k, 784 * (k + 1)))));
    $("between-status").textContent = `${COUNT} digits in ${time}; at A ${a}, at B ${b}.`;
  });

  classButtons("between-a", 3);
  classButtons("between-b", 8);
  dice("between-dice-a", "between-seed-a");
  dice("between-dice-b", "between-seed-b");
  $("between-part").addEventListener("input", showPart);
  document.querySelector("#between .controls").addEventListener("input", update);
  return update;
}

// ---- Tabs

const panels = { watch: watchPanel(), draw: drawPanel(), race: racePanel(), between: betweenPanel() };
const tabs = [...document.querySelectorAll('[role="tab"]')], opened = new Set();

function open(tab) {
  for (const other of tabs) {
    const here = other === tab, name = other.getAttribute("aria-controls");
    other.setAttribute("aria-selected", here);
    other.tabIndex = here ? 0 : -1;
    $(name).hidden = !here;
    if (here && !opened.has(name)) panels[opened.add(name) && name]();
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    open(next);
  });
}
open(tabs.find((tab) => tab.getAttribute("aria-controls") === location.hash.slice(1)) ?? tabs[0]);
