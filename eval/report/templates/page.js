"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = Array.from(document.querySelectorAll("[data-chart]"));
  const mouse = matchMedia("(hover: hover) and (pointer: fine)").matches;
  const PAPER = 660; // pixels that fit on A4 and on Letter
  const hidden = new Set();

  function draw(place) {
    if (place.data) return;
    const figure = figures[place.dataset.chart];
    // a finger that scrolls the page must not zoom a chart
    const layout = Object.assign({}, figure.layout, { autosize: true, dragmode: mouse ? "zoom" : false });
    delete layout.width;
    Plotly.newPlot(place, figure.data, layout, { displayModeBar: false, responsive: true });
    hidden.forEach((scheme) => toggle(place, scheme, false));
    if (place.dataset.of) {
      place.on("plotly_click", function (event) {
        const cell = event.points[0];
        const [depth, length] = figure.at[cell.pointIndex[0]][cell.pointIndex[1]];
        document.dispatchEvent(new CustomEvent("look", { detail: { task: place.dataset.of, length, depth } }));
      });
    }
  }

  function toggle(place, scheme, shown) {
    if (!place.data) return;
    const traces = place.data.flatMap((trace, at) => (String(trace.meta) === scheme ? [at] : []));
    if (traces.length) Plotly.restyle(place, { visible: shown }, traces);
  }

  // what is folded away has no width, and is drawn when it is opened
  const folds = Array.from(document.querySelectorAll("details.task"));
  const within = (fold) => charts.filter((place) => fold.contains(place));
  charts.filter((place) => !place.closest("details:not([open])")).forEach(draw);
  folds.forEach((fold) => fold.addEventListener("toggle", () => fold.open && within(fold).forEach(draw)));

  document.querySelectorAll("[data-scheme]").forEach(function (button) {
    button.addEventListener("click", function () {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      hidden[shown ? "delete" : "add"](button.dataset.scheme);
      charts.forEach((place) => toggle(place, button.dataset.scheme, shown));
    });
  });

  const themes = ["as the system", "light", "dark"];
  const theme = document.getElementById("theme");
  let chosen = 0;
  theme.hidden = false;
  theme.addEventListener("click", function () {
    chosen = (chosen + 1) % themes.length;
    theme.textContent = "Theme: " + themes[chosen];
    if (chosen) document.documentElement.dataset.theme = themes[chosen];
    else delete document.documentElement.dataset.theme;
    document.dispatchEvent(new Event("theme"));
  });

  // on paper, nothing is folded away, and charts have the width of the paper
  let closed = [];
  addEventListener("beforeprint", function () {
    closed = folds.filter((fold) => !fold.open);
    closed.forEach((fold) => { fold.open = true; });
    charts.forEach(function (place) {
      draw(place);
      const small = place.closest(".heats");
      const height = small ? 200 : Number(place.dataset.height);
      Plotly.relayout(place, { width: small ? PAPER / 3 - 12 : PAPER, height, autosize: false });
    });
  });
  addEventListener("afterprint", function () {
    charts.forEach(function (place) {
      Plotly.relayout(place, { width: null, height: Number(place.dataset.height), autosize: true });
    });
    closed.forEach((fold) => { fold.open = false; });
  });
})();
