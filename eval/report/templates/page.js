"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = Array.from(document.querySelectorAll("[data-chart]"));
  const mouse = matchMedia("(hover: hover) and (pointer: fine)").matches;
  const PAPER = 660; // pixels that fit on A4 and on Letter

  charts.forEach(function (place) {
    const figure = figures[place.dataset.chart];
    // a finger that scrolls the page must not zoom a chart
    const layout = Object.assign({}, figure.layout, { autosize: true, dragmode: mouse ? "zoom" : false });
    delete layout.width;
    Plotly.newPlot(place, figure.data, layout, { displayModeBar: false, responsive: true });
  });

  document.querySelectorAll("[data-scheme]").forEach(function (button) {
    button.addEventListener("click", function () {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      charts.forEach(function (place) {
        const traces = place.data.flatMap((trace, at) => (String(trace.meta) === button.dataset.scheme ? [at] : []));
        if (traces.length) Plotly.restyle(place, { visible: shown }, traces);
      });
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
  });

  // on paper, charts have the width of the paper
  addEventListener("beforeprint", function () {
    charts.forEach(function (place) {
      const wide = place.closest(".heats") ? PAPER / 2 - 16 : PAPER;
      Plotly.relayout(place, { width: wide, autosize: false });
    });
  });
  addEventListener("afterprint", function () {
    charts.forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
  });
})();
