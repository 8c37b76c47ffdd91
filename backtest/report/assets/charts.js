// Charts: each figure holds its data as JSON, which is drawn once the figure comes into view.
const charts = (() => {
  // Per least step in seconds: the label, and what is added where the year, day or minute changes.
  const DAY = "\n{YYYY}-{MM}-{DD}";
  const CLOCK = [
    [86400 * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [86400 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
    [0.001, "{ss}.{fff}", `${DAY} {HH}:{mm}`, null, `${DAY} {HH}:{mm}`, null, "\n{HH}:{mm}", null, 1],
  ];
  const DASHES = [undefined, [7, 4], [2, 3]];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figure = (value, digits = 5) => {
    const size = Math.abs(value), short = Number(value.toPrecision(digits));
    if (size !== 0 && (size < 1e-4 || size >= 1e9)) return short.toExponential().replace("e+", "e");
    return short.toLocaleString("en", { maximumSignificantDigits: digits });
  };
  // How many digits tell values of a range apart: more than 5 where they differ in their last ones.
  const digits = (low, high) => {
    const more = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / (high - low)));
    return Number.isFinite(more) ? Math.min(Math.max(5 + more, 5), 15) : 5;
  };

  const clock = (zone, start, end) => {
    const whole = end - start > 86400 * 2;
    const format = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone, hourCycle: "h23", month: "2-digit", day: "2-digit",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
      ...(whole ? { year: "numeric" } : { fractionalSecondDigits: 3 }),
    });
    return (seconds) => format.format(new Date(seconds * 1e3)).replace(",", "");
  };
  const reader = (axis, xs, exact = 5) => {
    if (axis.ticks) {
      const names = new Map(axis.ticks.map(([value, text]) => [value, text]));
      return (value) => names.get(value) ?? figure(axis.complement ? 100 * (1 - value) : value) + (axis.complement ? " %" : "");
    }
    if (axis.kind !== "time") return (value) => figure(value, exact);
    return clock(axis.zone, xs[0], xs[xs.length - 1]);
  };

  // What is drawn: the picked runs' series, and those that belong to no run.
  const chosen = (spec) => spec.series.filter((s) => s.entry === null || picks.has(s.entry));
  const looks = (series) => {
    if (series.entry === null) return { colour: "--soft", dash: series.dash };
    const look = picks.look(series.entry);
    return { colour: look.colour, dash: (look.dash + series.dash) % DASHES.length };
  };

  const range = (axis, zero) => (u, low, high) => {
    if (axis.low !== null) low = low === null ? axis.low : Math.min(low, axis.low);
    if (axis.high !== null) high = high === null ? axis.high : Math.max(high, axis.high);
    if (zero) { low = Math.min(low ?? 0, 0); high = Math.max(high ?? 0, 0); }
    if (low === null || high === null) return [1, 10];
    if (axis.kind === "log") {
      const ratio = Math.max(high / low, 1.5), room = axis.roomy ? ratio ** 0.08 : 1;
      return high / low < 1.5 ? [low / 1.5, high * 1.5] : [low / room, high * room];
    }
    if (low === high) { const by = Math.abs(low) * 0.1 || 1; return [low - by, high + by]; }
    const room = (high - low) * (axis.roomy ? 0.08 : 0.04);
    return [axis.low !== null && low >= axis.low ? axis.low : low - room,
            axis.high !== null && high <= axis.high ? axis.high : high + room];
  };
  const scale = (axis, zero) => ({
    time: axis.kind === "time", distr: axis.kind === "log" ? 3 : 1,
    dir: axis.complement ? -1 : 1, range: range(axis, zero),
  });
  const decades = (low, high) => { // 1, 2 and 5 times powers of ten, or few of them over many decades
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), found = [];
    const steps = last - first <= 3 ? [1, 2, 5] : [1], stride = Math.ceil((last - first) / 8);
    for (let e = first; e <= last; e += stride) for (const s of steps) found.push(s * 10 ** e);
    const inside = found.filter((v) => v >= low && v <= high);
    return inside.length > 1 ? inside : [low, (low + high) / 2, high].map((v) => Number(v.toPrecision(3)));
  };
  // A second line stands below the first label, and where it changes. Of two that would overlap the
  // longer stays, since only the first may hold the whole date; of two dates the later, which tells both.
  const apart = (u, splits, labels) => {
    let kept = null;
    labels.forEach((label, k) => {
      const [above, below] = String(label ?? "").split("\n");
      if (!below) return;
      const at = u.valToPos(splits[k], "x"), half = (7 * below.length) / 2;
      if (kept !== null && at - half < kept.at + kept.half) {
        if (half < kept.half) return void (labels[k] = above);
        labels[kept.k] = kept.above;
      }
      kept = { k, above, at, half };
    });
    return labels;
  };
  const axisOf = (axis, side) => {
    const narrow = innerWidth < 640;
    const made = {
      label: axis.title, labelSize: side ? 20 : 22, size: side ? (narrow ? 52 : 64) : 36, gap: 4,
      stroke: css("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 4 },
    };
    if (axis.ticks) {
      made.splits = () => axis.ticks.map(([value]) => value);
      made.values = () => axis.ticks.map(([, text]) => text);
      made.filter = (u, splits) => splits;
    } else if (axis.kind === "time") {
      made.values = CLOCK;
      made.size = 52;
      made.space = 64; // "00:00:00" takes almost 60 px
    } else {
      if (axis.kind === "log") {
        made.splits = (u, k, low, high) => decades(low, high);
        made.filter = (u, splits) => splits;
      }
      made.values = (u, splits) => {
        const exact = digits(splits[0], splits[splits.length - 1]);
        return splits.map((v) => (v === null ? null : figure(v, exact)));
      };
    }
    return made;
  };

  class Chart {
    constructor(box) {
      this.box = box;
      this.spec = JSON.parse(box.querySelector("script").textContent);
      this.plot = box.querySelector(".plot");
      this.readout = box.querySelector(".readout");
      this.at = null;
      this.width = 0;
      this.plot.addEventListener("keydown", (event) => this.press(event));
      if (this.spec.points) this.plot.addEventListener("click", () => this.near !== null && picks.toggle(this.near));
      new ResizeObserver(() => {
        const width = Math.floor(this.plot.clientWidth);
        if (!this.u || !width || width === this.width) return;
        this.width = width;
        this.u.setSize({ width, height: this.spec.height });
      }).observe(this.plot);
    }

    draw() {
      const { spec, plot } = this;
      const zoomed = this.u && this.zoomed() ? this.u.scales.x : null;
      const bounds = zoomed ? { min: zoomed.min, max: zoomed.max } : null;
      this.u?.destroy();
      this.shown = spec.points ? [] : chosen(spec);
      const tables = this.shown.map((s) => [spec.xs[s.x], s.y]);
      const data = spec.points ? this.scattered() : tables.length ? uPlot.join(tables) : [[]];
      this.width = Math.floor(plot.clientWidth) || 600;
      this.u = new uPlot(this.options(data), data, plot);
      if (bounds) this.u.setScale("x", bounds);
      this.light();
    }

    scattered() {
      const points = this.spec.series
        .map((s) => ({ entry: s.entry, x: this.spec.xs[s.x][0], y: s.y[0] }))
        .sort((a, b) => a.x - b.x);
      this.points = points;
      this.shown = points.filter((p) => picks.has(p.entry))
        .map((p) => ({ entry: p.entry, name: picks.names[p.entry], dash: 0 }));
      const others = points.map((p) => (picks.has(p.entry) ? null : p.y));
      const own = this.shown.map((s) => points.map((p) => (p.entry === s.entry ? p.y : null)));
      return [points.map((p) => p.x), others, ...own];
    }

    options(data) {
      const { spec } = this;
      const stepped = spec.steps ? uPlot.paths.stepped({ align: 1 }) : undefined;
      const series = this.shown.map((s) => {
        const { colour, dash } = looks(s), stroke = css(colour);
        if (spec.points) return { stroke, fill: stroke, paths: () => null, points: { show: true, size: 11, stroke, fill: stroke } };
        const few = s.y.length <= 12;
        return { label: s.name, stroke, width: 1.6, dash: DASHES[dash], paths: stepped, points: { show: few, size: 5, fill: stroke } };
      });
      if (spec.points) {
        const stroke = css("--faint");
        series.unshift({ stroke, paths: () => null, points: { show: true, size: 7, stroke, fill: stroke } });
      }
      return {
        width: this.width, height: spec.height, legend: { show: false }, focus: { alpha: 0.22 },
        scales: { x: scale(spec.x, false), y: scale(spec.y, spec.zero) },
        axes: [axisOf(spec.x, false), axisOf(spec.y, true)],
        series: [{}, ...series],
        tzDate: spec.x.kind === "time" ? (seconds) => uPlot.tzDate(new Date(seconds * 1e3), spec.x.zone) : undefined,
        cursor: {
          y: Boolean(spec.points), points: { show: !spec.points, size: 7 }, drag: { x: true, y: false, dist: 5 },
          sync: spec.x.kind === "time" ? { key: "time", scales: ["x", null] } : undefined,
        },
        hooks: {
          init: [(u) => {
            const [axis] = u.axes, labels = axis.values;
            if (spec.x.kind === "time") axis.values = (u, splits, ...more) => apart(u, splits, labels(u, splits, ...more));
          }],
          drawClear: [(u) => this.shade(u)],
          draw: [(u) => this.decorate(u)],
          setCursor: [(u) => this.read(u)],
        },
      };
    }

    shade(u) {
      const { ctx, bbox } = u;
      ctx.save();
      ctx.fillStyle = css("--burst");
      for (const [low, high] of this.spec.spans) {
        const a = Math.max(u.valToPos(low, "x", true), bbox.left);
        const b = Math.min(u.valToPos(high, "x", true), bbox.left + bbox.width);
        if (b > a) ctx.fillRect(a, bbox.top, b - a, bbox.height);
      }
      ctx.restore();
    }

    decorate(u) {
      const { ctx, bbox } = u;
      const { min, max } = u.scales.y;
      if (this.spec.zero && min < 0 && max > 0) {
        const y = Math.round(u.valToPos(0, "y", true)) + 0.5;
        ctx.save();
        ctx.strokeStyle = css("--soft");
        ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
        ctx.restore();
      }
      if (this.spec.points) this.name(u);
    }

    name(u) {
      const { ctx, bbox } = u, ratio = devicePixelRatio, taken = [];
      ctx.save();
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.fillStyle = css("--ink");
      ctx.textAlign = "left"; // the axes, drawn before, leave theirs
      ctx.textBaseline = "alphabetic";
      for (const p of this.points.filter((point) => picks.has(point.entry))) {
        const text = picks.names[p.entry], wide = ctx.measureText(text).width, high = 14 * ratio;
        const x = u.valToPos(p.x, "x", true), y = u.valToPos(p.y, "y", true);
        const right = x + 9 * ratio + wide < bbox.left + bbox.width;
        const left = Math.max(right ? x + 9 * ratio : x - 9 * ratio - wide, bbox.left);
        const clear = (at) => taken.every((t) => Math.abs(t.at - at) >= high || left > t.left + t.wide || t.left > left + wide);
        const inside = (at) => at - high > bbox.top && at < bbox.top + bbox.height;
        let at = y + 4 * ratio;
        for (let k = 0; k < 40 && !(clear(at) && inside(at)); k++) {
          at = y + 4 * ratio + (k % 2 ? -1 : 1) * Math.ceil((k + 1) / 2) * high;
        }
        taken.push({ left, wide, at });
        ctx.fillText(text, left, at);
      }
      ctx.restore();
    }

    read(u) {
      const { left, top, idx } = u.cursor;
      this.at = idx;
      if (this.spec.points) return this.readPoint(u, left, top);
      if (idx === null || idx === undefined || left < 0) { this.readout.textContent = ""; return; }
      const x = reader(this.spec.x, u.data[0]), y = reader(this.spec.y, [], digits(u.scales.y.min, u.scales.y.max));
      const values = this.shown.map((s, k) => [s.name, last(u.data[k + 1], idx)]).filter(([, v]) => v !== null);
      this.readout.textContent = `${x(u.data[0][idx])} — ` + values.map(([name, v]) => `${name} ${y(v)}`).join("; ");
    }

    readPoint(u, left, top) {
      let best = null, least = 24;
      for (const p of this.points) {
        const away = Math.hypot(u.valToPos(p.x, "x") - left, u.valToPos(p.y, "y") - top);
        if (away < least) { least = away; best = p; }
      }
      this.near = best && best.entry;
      this.plot.classList.toggle("over", best !== null);
      this.readout.textContent = best === null ? ""
        : `${picks.names[best.entry]}: ${this.spec.x.title} ${figure(best.x)}, ${this.spec.y.title} ${figure(best.y)}`;
    }

    press(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], { u } = this;
      if (event.key === "Escape") u.setScale("x", { min: u.data[0][0], max: u.data[0][u.data[0].length - 1] });
      if (!step || !u.data[0].length) return;
      event.preventDefault();
      const many = Math.max(Math.round(u.data[0].length / 120), 1);
      const to = Math.min(Math.max((this.at ?? -1) + step * many, 0), u.data[0].length - 1);
      const y = this.spec.points ? u.valToPos(this.points[to].y, "y") : u.bbox.height / devicePixelRatio / 2;
      u.setCursor({ left: u.valToPos(u.data[0][to], "x"), top: y });
      this.at = to;
    }

    zoomed() {
      const xs = this.u.data[0], { min, max } = this.u.scales.x;
      return this.spec.x.kind === "time" && xs.length > 1 && (min > xs[0] || max < xs[xs.length - 1]);
    }

    light() {
      if (this.spec.points) return;
      const entry = picks.lit();
      const k = entry === null ? -1 : this.shown.findIndex((s) => s.entry === entry);
      this.u.setSeries(k < 0 ? null : k + 1, { focus: true });
    }

    rows() { // the drawn values as a table, for a copy, a file and a screen reader
      const { u, spec } = this;
      if (spec.points) {
        return [["run", spec.x.title, spec.y.title], ...this.points.map((p) => [picks.names[p.entry], p.x, p.y])];
      }
      const xs = u.data[0].map((v) => (spec.x.kind === "time" ? new Date(v * 1e3).toISOString() : v));
      const title = spec.x.kind === "time" ? "time (UTC)" : spec.x.title;
      return [[title, ...this.shown.map((s) => s.name)], ...xs.map((x, k) => [x, ...u.data.slice(1).map((of) => of[k] ?? "")])];
    }
  }

  const last = (values, idx) => {
    for (let k = idx; k >= 0; k--) if (values[k] !== undefined) return values[k];
    return null;
  };

  const drawn = new Map();
  const draw = (box) => {
    if (!drawn.has(box)) drawn.set(box, new Chart(box));
    drawn.get(box).draw();
    return drawn.get(box);
  };
  const boxes = [...document.querySelectorAll("figure.chart")];
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "300px" });
  boxes.forEach((box) => seen.observe(box));

  const again = () => drawn.forEach((chart) => chart.draw());
  picks.on("change", again);
  picks.on("light", () => drawn.forEach((chart) => chart.light()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // Paper is white, and shows charts that never came into view.
  const paper = (on) => document.documentElement.classList.toggle("paper", on);
  addEventListener("beforeprint", () => { paper(true); boxes.forEach(draw); });
  addEventListener("afterprint", () => { paper(false); again(); });
  return { of: (box) => drawn.get(box) ?? draw(box) };
})();
