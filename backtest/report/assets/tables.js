// Tables: sorted by a click on a heading, filtered, grouped, copied and saved as CSV.
const tables = (() => {
  const number = (text) => {
    const found = /^[−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?/i.exec(text.trim());
    return found ? Number(found[0].replaceAll(",", "").replace("−", "-")) : null;
  };
  const csv = (rows) => rows.map((row) => row.map((cell) => {
    let text = String(cell);
    if (/^[=+@\t\r]/.test(text) || (/^-/.test(text) && number(text) === null)) text = `'${text}`; // no formula
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",")).join("\r\n");

  const save = (rows, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const copy = async (rows, told) => {
    const text = rows.map((row) => row.join("\t")).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = "copied";
    } catch {
      told.textContent = "the browser does not allow it; save the CSV instead";
    }
    setTimeout(() => { told.textContent = ""; }, 3000);
  };
  const tools = (rows, name) => {
    const made = document.createElement("span"), told = document.createElement("span");
    made.className = "tools";
    told.setAttribute("role", "status");
    for (const [text, press] of [["copy", () => copy(rows(), told)], ["save CSV", () => save(rows(), name())]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "plain";
      button.textContent = text;
      button.addEventListener("click", press);
      made.append(button);
    }
    made.append(told);
    return made;
  };

  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "table";
  const text = (cell) => (cell.dataset.text ?? cell.textContent).trim();

  class Table {
    constructor(box) {
      this.box = box;
      this.table = box.querySelector("table");
      this.body = this.table.tBodies[0];
      this.heads = [...this.table.tHead.rows[0].cells];
      this.rows = [...this.body.rows];
      this.sorted = null;
      this.heads.forEach((head, column) => this.sortable(head, column));
      this.rows.forEach((row) => [...row.cells].forEach((cell, k) => { if (k) cell.dataset.label = text(this.heads[k]); }));
      const title = () => slug(this.table.caption?.textContent ?? document.title);
      box.before(this.bar = document.createElement("div"));
      this.bar.className = "tablebar";
      if (box.dataset.filter !== undefined) this.filters();
      this.bar.append(tools(() => this.values(), title));
      this.rows.forEach((row) => this.link(row));
      this.fillBars();
    }

    sortable(head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => this.sort(column));
      head.append(button);
    }

    sort(column) {
      const numeric = this.heads[column].classList.contains("n");
      const falling = this.sorted === column ? !this.falling : numeric;
      this.sorted = column;
      this.falling = falling;
      const key = (row) => (numeric ? number(text(row.cells[column])) : text(row.cells[column]));
      const keyed = this.rows.map((row) => [key(row), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // without a figure: last
        const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
        return falling ? -order : order;
      });
      this.rows = keyed.map(([, row]) => row);
      this.heads.forEach((head, k) => {
        if (k === column) head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      this.show();
    }

    filters() {
      const search = document.createElement("input");
      search.type = "search";
      search.placeholder = "filter";
      search.setAttribute("aria-label", "Show rows that contain");
      search.addEventListener("input", () => this.show());
      this.search = search;
      this.bar.append(search);
      this.selects = [];
      const factors = this.heads.map((head, k) => [head, k]).filter(([head]) => head.dataset.factor !== undefined);
      for (const [head, column] of factors) {
        const values = [...new Set(this.rows.map((row) => text(row.cells[column])))];
        values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
        const select = this.select(`${text(head)}: all`, values);
        select.setAttribute("aria-label", `Show rows whose ${text(head)} is`);
        this.selects.push([select, column]);
      }
      if (factors.length) {
        this.group = this.select("group by", factors.map(([head]) => text(head)));
        this.group.setAttribute("aria-label", "Group rows by");
      }
      if (this.heads.some((head) => head.dataset.more !== undefined)) {
        const more = document.createElement("button");
        more.type = "button";
        more.className = "plain";
        const show = (all) => {
          this.box.classList.toggle("all", all);
          more.setAttribute("aria-expanded", all);
          more.textContent = all ? "fewer columns" : "all columns";
        };
        more.addEventListener("click", () => show(!this.box.classList.contains("all")));
        show(false);
        this.bar.append(more);
        this.heads.forEach((head, k) => {
          if (head.dataset.more !== undefined) this.rows.forEach((row) => row.cells[k].classList.add("more"));
        });
      }
      this.count = document.createElement("span");
      this.count.className = "note";
      this.count.setAttribute("role", "status");
      this.bar.append(this.count);
    }

    select(all, values) {
      const made = document.createElement("select");
      made.append(new Option(all, ""), ...values.map((value) => new Option(value, value)));
      made.addEventListener("change", () => this.show());
      this.bar.append(made);
      return made;
    }

    matches(row) {
      const wanted = (this.search?.value ?? "").toLowerCase();
      if (wanted && !row.textContent.toLowerCase().includes(wanted)) return false;
      return (this.selects ?? []).every(([select, column]) => !select.value || text(row.cells[column]) === select.value);
    }

    show() {
      const shown = this.rows.filter((row) => this.matches(row));
      const by = this.group?.value ? this.heads.findIndex((head) => text(head) === this.group.value) : -1;
      const groups = new Map();
      if (by >= 0) for (const row of shown) {
        const value = text(row.cells[by]);
        groups.set(value, [...(groups.get(value) ?? []), row]);
      }
      this.body.replaceChildren(...(by < 0 ? shown : [...groups].flatMap(([value, rows]) => [this.mean(value, rows), ...rows])));
      if (this.count) this.count.textContent = shown.length === this.rows.length ? "" : `${shown.length} of ${this.rows.length} rows`;
    }

    mean(value, rows) {
      const made = document.createElement("tr");
      made.className = "group";
      this.heads.forEach((head, column) => {
        const cell = document.createElement(column ? "td" : "th");
        if (column === 0) cell.textContent = `${value}: mean of ${rows.length}`;
        if (column && head.classList.contains("n")) {
          const known = rows.map((row) => number(text(row.cells[column]))).filter((v) => v !== null);
          const mean = known.reduce((a, b) => a + b, 0) / known.length;
          const percent = rows.some((row) => text(row.cells[column]).endsWith("%"));
          cell.className = "n";
          cell.textContent = known.length ? Number(mean.toPrecision(4)).toLocaleString("en") + (percent ? " %" : "") : "–";
          cell.dataset.label = text(head);
        }
        if (head.dataset.more !== undefined) cell.classList.add("more");
        made.append(cell);
      });
      return made;
    }

    link(row) { // a row that stands for a run picks it, and lights it up in the charts
      if (row.dataset.entry === undefined || picks.names[row.dataset.entry] === undefined) return;
      const entry = Number(row.dataset.entry), head = row.cells[0], name = text(head);
      head.dataset.text = name;
      const box = document.createElement("input");
      box.type = "checkbox";
      box.setAttribute("aria-label", `Show ${name} in the charts`);
      box.addEventListener("change", () => picks.toggle(entry));
      head.prepend(box);
      const look = () => {
        const on = picks.has(entry);
        box.checked = on;
        row.classList.toggle("picked", on);
        box.style.accentColor = on ? `var(${picks.look(entry).colour})` : "";
      };
      look();
      picks.on("change", look);
      picks.on("light", () => row.classList.toggle("lit", picks.lit() === entry));
      row.addEventListener("pointerenter", () => picks.has(entry) && picks.light(entry));
      row.addEventListener("pointerleave", () => picks.light(null));
    }

    fillBars() { // a bar in each cell of a column of amounts, from a common zero
      const columns = this.heads.flatMap((head, k) => (head.dataset.bar === undefined ? [] : [k]));
      const amounts = columns.map((k) => this.rows.map((row) => number(text(row.cells[k])) ?? 0));
      const most = Math.max(...amounts.flat().map(Math.abs), 0);
      if (!most) return;
      columns.forEach((k, column) => this.rows.forEach((row, at) => {
        const share = 50 * amounts[column][at] / most, cell = row.cells[k];
        const [from, to] = share < 0 ? [50 + share, 50] : [50, 50 + share];
        const colour = share < 0 ? "var(--loss)" : "var(--gain)";
        cell.classList.add("bar");
        cell.style.backgroundImage = `linear-gradient(90deg, transparent ${from}%, ${colour} ${from}% ${to}%, transparent ${to}%)`;
      }));
    }

    values() {
      const heads = this.heads.map(text);
      return [heads, ...[...this.body.rows].map((row) => [...row.cells].map(text))];
    }
  }

  const made = new Map([...document.querySelectorAll(".scroll.data")].map((box) => [box, new Table(box)]));
  for (const box of document.querySelectorAll("figure.chart")) {
    const name = box.querySelector("figcaption").textContent;
    box.querySelector("figcaption").append(tools(() => charts.of(box).rows(), () => slug(name)));
  }
  return { number, text, of: (box) => made.get(box) };
})();
