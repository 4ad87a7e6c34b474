"use strict";
(function () {
  const explorer = document.getElementById("explorer");
  if (!explorer) return;
  const tasks = JSON.parse(document.getElementById("questions").textContent);
  const PAGE = 20; // rows at a time, however many questions there are
  const CLIP = 100; // characters of a text before it folds
  const by = (id) => document.getElementById(id);
  const [pickTask, pickLength, pickKind, pickText] = ["task", "length", "kind", "text"].map((n) => by("pick-" + n));
  const head = explorer.querySelector("thead tr");
  const body = explorer.querySelector("tbody");
  const canvas = explorer.querySelector("canvas");
  const state = { task: 0, start: 0, found: [], here: -1, depth: null };

  function make(name, text, kind) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text; // never as HTML: a person or a model wrote it
    if (kind) element.className = kind;
    return element;
  }

  function short(tokens) {
    return tokens % 1024 ? String(tokens) : tokens / 1024 + "k";
  }

  function choose(select, options) {
    select.replaceChildren(...options.map(([value, text]) => Object.assign(make("option", text), { value })));
  }

  // each kind of question: what it is called and which scores it has
  function kinds(task) {
    const known = (scores) => scores.filter((score) => score !== null);
    const all = [["all", "all questions", () => true]];
    if (task.nats) return all;
    const names = task.schemes;
    if (names.length > 1) {
      all.push(["differ", "schemes disagree", (s) => new Set(known(s)).size > 1]);
      all.push(["none", "right by no scheme", (s) => known(s).every((score) => score < 1)]);
      all.push(["each", "right by every scheme", (s) => known(s).every((score) => score === 1)]);
    }
    names.forEach((name, at) => all.push(["wrong" + at, "wrong by " + name, (s) => s[at] !== null && s[at] < 1]));
    names.forEach((name, at) => all.push(["right" + at, "right by " + name, (s) => s[at] === 1]));
    if (names.length > 1 && names.length < 6) {
      names.forEach((one, i) => names.forEach((other, j) => {
        const only = (s) => s[i] === 1 && s[j] !== null && s[j] < 1;
        if (i !== j) all.push(["pair" + i + "-" + j, "right by " + one + ", wrong by " + other, only]);
      }));
    }
    return all;
  }

  function setTask(number) {
    state.task = number;
    pickTask.value = String(number);
    const task = tasks[number];
    const lengths = Array.from(new Set(task.questions.map((one) => one[0]))).sort((a, b) => a - b);
    choose(pickLength, [["", "all"]].concat(lengths.map((length) => [String(length), short(length)])));
    choose(pickKind, kinds(task).map(([value, text]) => [value, text]));
    const columns = ["length", "depth", "end of the question", "expected"].concat(task.schemes);
    head.replaceChildren(...columns.map((name, at) => {
      const cell = make("th", at < 4 ? name : undefined);
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
      if (at > 3) cell.append(make("code", name));
      return cell;
    }));
    by("map").querySelector(".map-names").replaceChildren(...task.schemes.map((name) => make("code", name)));
    by("answers-caption").textContent = "Answers to " + task.name;
  }

  function filter() {
    const task = tasks[state.task];
    const fits = kinds(task).find(([value]) => value === pickKind.value)[2];
    const text = pickText.value.toLowerCase();
    state.found = [];
    task.questions.forEach(([length, depth, prompt, expected, got, scores], at) => {
      if (pickLength.value && String(length) !== pickLength.value) return;
      if (state.depth !== null && depth !== state.depth) return;
      if (!fits(scores)) return;
      if (text && ![prompt, ...expected, ...got].some((one) => one && one.toLowerCase().includes(text))) return;
      state.found.push(at);
    });
    state.start = 0;
    state.here = -1;
    show();
  }

  // what tells schemes apart comes first
  function begin() {
    pickKind.value = "differ";
    if (pickKind.value) filter();
    if (!pickKind.value || !state.found.length) {
      pickKind.value = "all";
      filter();
    }
  }

  function show() {
    const task = tasks[state.task];
    const stop = Math.min(state.start + PAGE, state.found.length);
    body.replaceChildren(...state.found.slice(state.start, stop).map((at) => row(task, at)));
    const place = state.found.length ? state.start + 1 + "–" + stop + " of " : "";
    const depth = state.depth === null ? "" : ", depth " + Math.round(100 * state.depth) + "%";
    const total = state.found.length === task.questions.length ? "" : " (of " + task.questions.length + ")";
    by("told").textContent = "Questions " + place + state.found.length + total + depth;
    by("before").setAttribute("aria-disabled", String(state.start === 0));
    by("after").setAttribute("aria-disabled", String(stop === state.found.length));
    draw();
  }

  function row(task, at) {
    const [length, depth, prompt, expected, got, scores] = task.questions[at];
    const line = make("tr", undefined, at === state.here ? "here" : "");
    line.append(make("td", short(length)), make("td", depth === null ? "–" : Math.round(100 * depth) + "%"));
    const asked = make("td", undefined, "long asked");
    asked.append(folded(prompt, true));
    const wanted = make("td", undefined, "long wanted");
    wanted.append(folded(expected.join("\n"), false));
    line.append(asked, wanted, ...got.map((text, which) => answer(task, text, scores[which], expected)));
    // on a narrow screen a row is a card: cells need their column's name, and roles that a card has not
    line.setAttribute("role", "row");
    Array.from(line.children).forEach((cell, which) => {
      cell.setAttribute("role", "cell");
      cell.dataset.label = head.children[which].textContent;
    });
    return line;
  }

  function answer(task, text, score, expected) {
    if (score === null) return make("td", "not asked", "faint");
    const cell = make("td", undefined, "long");
    const kind = task.nats ? "" : score === 1 ? "yes" : score === 0 ? "no" : "undecided";
    const word = { yes: "right", no: "wrong", undecided: Math.round(100 * score) + "%", "": score.toFixed(3) + " nats" }[kind];
    cell.append(make("span", word, kind ? "answer " + kind : ""));
    if (text) cell.append(folded(text, false, expected));
    else if (!task.nats) cell.append(make("span", "(nothing)", "faint"));
    return cell;
  }

  // a long text shows its beginning, or its end, in a line or two, and unfolds
  function folded(text, end, wanted) {
    if (text.length <= CLIP) return marked(make("span", undefined, "text"), text.trim(), wanted);
    const fold = make("details");
    const part = end ? "…" + text.slice(-CLIP) : text.slice(0, CLIP) + "…";
    const line = part.replace(/\s+/g, " ");
    fold.append(marked(make("summary"), line, wanted), marked(make("div", undefined, "text whole"), text, wanted));
    return fold;
  }

  // what was asked for stands out where it was told
  function marked(element, text, wanted) {
    const low = text.toLowerCase();
    let from = 0;
    const places = (wanted || []).map((one) => [one && low.length === text.length ? low.indexOf(one.toLowerCase()) : -1, one.length]);
    for (const [at, length] of places.sort((a, b) => a[0] - b[0])) {
      if (at < from) continue;
      element.append(text.slice(from, at), make("mark", text.slice(at, at + length)));
      from = at + length;
    }
    element.append(text.slice(from));
    return element;
  }

  // one column a question, one line a scheme, from the shortest question to the longest
  function draw() {
    const task = tasks[state.task];
    by("map").hidden = task.nats || task.questions.length < 2;
    if (by("map").hidden || !canvas.clientWidth) return;
    const LINE = 20, GAP = 4, TOP = 18, scale = window.devicePixelRatio || 1;
    const wide = canvas.clientWidth, high = TOP + LINE * task.schemes.length;
    canvas.style.height = high + "px";
    canvas.width = wide * scale;
    canvas.height = high * scale;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const step = wide / task.questions.length;
    const shown = new Set(state.found);
    pen.scale(scale, scale);
    pen.font = "12px " + style.fontFamily;
    let last = null, free = 0;
    task.questions.forEach(([length, , , , , scores], at) => {
      pen.globalAlpha = shown.has(at) ? 1 : 0.2;
      scores.forEach((score, line) => {
        if (score === null) return;
        pen.fillStyle = shade(score);
        const gap = step > 6 ? 1 : 0;
        pen.fillRect(at * step, TOP + line * LINE + GAP / 2, Math.max(step - gap, 0.5), LINE - GAP);
      });
      pen.globalAlpha = 1;
      if (length === last) return;
      last = length;
      pen.fillStyle = style.color;
      if (at) pen.fillRect(at * step - 1, 0, 1, high);
      if (at * step >= free) pen.fillText(short(length), at * step + 3, 12);
      free = at * step + 12 + pen.measureText(short(length)).width;
    });
    canvas.setAttribute("aria-label", "Right and wrong answers of " + task.schemes.length + " schemes to " +
      task.questions.length + " questions of " + task.name + ", from the shortest to the longest; the table lists them");
  }

  // the ends of the heat maps' scale
  function shade(score) {
    const ends = [[0, 34, 78], [254, 232, 56]];
    return "rgb(" + ends[0].map((low, at) => Math.round(low + (ends[1][at] - low) * score)).join(",") + ")";
  }

  function lookAt(name, length, depth) {
    const number = tasks.findIndex((task) => task.name === name);
    if (number < 0) return;
    setTask(number);
    pickText.value = "";
    if (length) pickLength.value = length;
    state.depth = depth === undefined ? null : depth;
    pickKind.value = "all";
    filter();
  }

  choose(pickTask, tasks.map((task, at) => [String(at), task.name]));
  pickTask.addEventListener("change", () => { state.depth = null; setTask(Number(pickTask.value)); begin(); });
  pickLength.addEventListener("change", () => { state.depth = null; filter(); });
  pickKind.addEventListener("change", filter);
  pickText.addEventListener("input", filter);
  explorer.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  by("before").addEventListener("click", () => { if (state.start) { state.start -= PAGE; show(); } });
  by("after").addEventListener("click", () => {
    if (state.start + PAGE < state.found.length) { state.start += PAGE; show(); }
  });
  canvas.addEventListener("click", (event) => {
    const count = tasks[state.task].questions.length;
    const at = Math.min(Math.floor((event.offsetX / canvas.clientWidth) * count), count - 1);
    if (!state.found.includes(at)) { pickLength.value = pickText.value = ""; pickKind.value = "all"; state.depth = null; filter(); }
    state.start = Math.floor(state.found.indexOf(at) / PAGE) * PAGE;
    state.here = at;
    show();
    body.querySelector(".here").scrollIntoView({ block: "nearest" });
  });
  document.querySelectorAll("[data-look]").forEach((link) => link.addEventListener("click", () => lookAt(link.dataset.look)));
  document.addEventListener("look", (event) => {
    lookAt(event.detail.task, event.detail.length, event.detail.depth);
    document.getElementById("answers").scrollIntoView();
  });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.addEventListener("theme", draw);

  explorer.hidden = false;
  setTask(0);
  begin();
})();
