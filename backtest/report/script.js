"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const scale = (text) => {
    const [low, high, start, end, kind] = text.split(" ");
    const log = kind === "log";
    const a = log ? Math.log10(+low) : +low, b = log ? Math.log10(+high) : +high;
    return (px) => {
      const v = a + (px - start) / (end - start) * (b - a);
      return log ? 10 ** v : v;
    };
  };
  const show = (v) => Number(v.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const vertices = (group) => {
    const found = [];
    for (const path of group.querySelectorAll("path")) {
      let x = 0, y = 0;
      for (const [, command, rest] of path.getAttribute("d").matchAll(/([MLHV])([^MLHV]*)/g)) {
        const n = rest.trim().split(/ /).map(Number);
        if (command === "H") { x = n[0]; continue; }
        if (command === "V") { y = n[0]; } else { [x, y] = n; }
        found.push([x, y]);
      }
    }
    if (!found.length) {
      for (const c of group.querySelectorAll("circle")) found.push([+c.getAttribute("cx"), +c.getAttribute("cy")]);
    }
    return found;
  };
  for (const svg of document.querySelectorAll("svg.plot")) {
    const x = scale(svg.dataset.x), y = scale(svg.dataset.y);
    const readout = svg.parentNode.querySelector(".readout");
    const groups = [...svg.querySelectorAll("g.series")];
    let lines = null, cursor = null, at = null;
    const move = (px) => {
      lines ??= groups.map((g) => [g, vertices(g)]);
      const shown = lines.filter(([g, points]) => points.length && !g.classList.contains("off"));
      if (!shown.length) return;
      const near = (points) => points.reduce((a, b) => Math.abs(b[0] - px) < Math.abs(a[0] - px) ? b : a);
      const places = shown.map(([g, points]) => [g.dataset.name, near(points)]);
      at = places.map(([, p]) => p[0]).reduce((a, b) => Math.abs(b - px) < Math.abs(a - px) ? b : a);
      if (!cursor) {
        cursor = document.createElementNS(SVG, "path");
        cursor.setAttribute("class", "cursor");
        svg.append(cursor);
      }
      const [, , bottom, top] = svg.dataset.y.split(" ");
      cursor.setAttribute("d", `M${at} ${bottom}V${top}`);
      const values = places.map(([name, p]) => `${name} ${show(y(p[1]))}`);
      readout.textContent = `${svg.dataset.xTitle} ${show(x(at))} — ${svg.dataset.yTitle}: ${values.join(", ")}`;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      move((event.clientX - box.left) / box.width * svg.viewBox.baseVal.width);
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      lines ??= groups.map((g) => [g, vertices(g)]);
      const places = [...new Set(lines.flatMap(([g, p]) => g.classList.contains("off") ? [] : p.map((v) => v[0])))];
      places.sort((a, b) => a - b);
      const here = at === null ? -1 : places.findIndex((v) => v >= at);
      const next = places[Math.min(Math.max(here + step, 0), places.length - 1)];
      if (next !== undefined) move(next);
    });
    for (const button of svg.parentNode.querySelectorAll("[data-toggle]")) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", on);
        for (const g of groups) if (g.dataset.series === button.dataset.toggle) g.classList.toggle("off", !on);
      });
    }
  }
})();
