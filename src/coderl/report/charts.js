"use strict";
// Draws the figures of #chart-data in the page's own colours, each when it first comes into view, and switches their x axis.
(() => {
  const figures = JSON.parse(document.getElementById("chart-data").textContent);
  const places = [...document.querySelectorAll("[data-chart]")];
  const drawn = new Set();
  const axisTitles = { step: "steps", cpu_seconds: "CPU seconds" };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const chosenAxis = () => document.querySelector('input[name="axis"]:checked')?.value ?? "step";

  function theme() {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      axis,
    };
  }

  function layoutOf(figure) {
    const { axis, ...rest } = theme();
    const named = Object.keys(figure.axes).length ? { title: { text: axisTitles[chosenAxis()] } } : {};
    return {
      ...rest, ...figure.layout,
      margin: { l: 52, r: 12, t: 8, b: 44 }, hovermode: figure.layout.barmode ? "closest" : "x unified", showlegend: true,
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, traceorder: "normal", font: { size: 11 } },
      xaxis: { ...axis, automargin: true, ...figure.layout.xaxis, ...named }, yaxis: { ...axis, ...figure.layout.yaxis },
    };
  }

  function dataOf(figure) {
    const xs = figure.axes[chosenAxis()];
    return figure.data.map((trace, i) => ({ ...trace, x: xs ? xs[i] : trace.x }));
  }

  const options = { responsive: true, displayModeBar: false }; // dragging zooms, a double click shows all again
  const draw = (place) => {
    const figure = figures[Number(place.dataset.chart)];
    drawn.add(place);
    Plotly.react(place, dataOf(figure), layoutOf(figure), options);
  };
  const redraw = () => drawn.forEach(draw);

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "200px" });
  places.forEach((place) => watcher.observe(place));
  window.addEventListener("beforeprint", () => places.filter((place) => place.offsetParent).forEach(draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.querySelectorAll('input[name="axis"]').forEach((input) => input.addEventListener("change", redraw));
})();
