"use strict";
// A slider shows one row of a series of pictures; without this script, and on paper, all rows stand below each other.
for (const series of document.querySelectorAll("[data-series]")) {
  const slider = series.querySelector("input[type=range]"), told = series.querySelector("output");
  if (!slider) continue; // one row alone
  const show = () => {
    for (const row of series.querySelectorAll("[data-row]")) row.classList.toggle("shown", row.dataset.row === slider.value);
    told.textContent = series.querySelectorAll("[data-row].shown")[0]?.dataset.told ?? "";
    slider.setAttribute("aria-valuetext", told.textContent);
  };
  slider.addEventListener("input", show);
  series.classList.add("slides");
  show();
}
// The curves that stand still give way to ones that can be zoomed. Where fingers scroll the page, they must not zoom.
const curves = document.getElementById("curves");
if (curves && window.Bokeh) {
  Bokeh.set_log_level("warn");
  const {docs, items} = JSON.parse(curves.textContent);
  document.documentElement.classList.add("zooms");
  Bokeh.embed.embed_items(docs, items).then((managers) => {
    const roots = managers.flatMap((manager) => [...manager.roots ?? manager]);
    const plots = roots.filter((root) => root.model.toolbar); // there is a place for bokeh's own notices besides
    if (matchMedia("(pointer: coarse)").matches)
      for (const plot of plots) for (const tool of plot.model.toolbar.tools) if (tool.active) tool.active = false;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const plot of plots) plot.request_layout();
    });
    document.documentElement.dataset.ready = "yes";
  });
}
