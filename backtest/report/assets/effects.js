// What each factor does: the mean of a figure by level, and by the levels of two factors.
for (const box of document.querySelectorAll(".effects")) {
  const from = tables.of(document.querySelector(`#${box.dataset.of} .scroll.data`));
  const { heads, rows } = from;
  const factors = heads.map((head, k) => [tables.text(head), k]).filter(([, k]) => heads[k].dataset.factor !== undefined);
  const figures = heads.map((head, k) => [tables.text(head), k]).filter(([, k]) => heads[k].classList.contains("n") && heads[k].dataset.factor === undefined);
  const cells = rows.map((row) => [...row.cells].map((cell) => tables.text(cell)));

  const chooser = (title, options, chosen) => {
    const label = document.createElement("label"), select = document.createElement("select");
    options.forEach(([name, column], k) => select.append(new Option(name, column, k === chosen, k === chosen)));
    label.append(`${title} `, select);
    select.addEventListener("change", () => show());
    box.querySelector(".choose").append(label);
    return select;
  };
  const figure = chooser("figure", figures, 0);
  const down = factors.length > 1 ? chooser("down", factors, 0) : null;
  const across = factors.length > 1 ? chooser("across", factors, 1) : null;

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const shown = (value) => (value === undefined ? "–" : Number(value.toPrecision(3)).toLocaleString("en"));
  const levels = (column) => [...new Set(cells.map((row) => row[column]))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const of = (test, column) => {
    const known = cells.filter(test).map((row) => tables.number(row[column])).filter((v) => v !== null);
    return known.length ? { mean: mean(known), count: known.length, low: Math.min(...known), high: Math.max(...known) } : undefined;
  };
  const paint = (cell, value, low, high) => {
    if (value === undefined) return;
    const sign = low < 0 && high > 0; // around zero: two colours
    const most = sign ? Math.max(-low, high) : high - low || 1;
    const share = sign ? Math.abs(value) / most : (value - low) / most;
    const colour = sign && value < 0 ? "var(--bad)" : "var(--good)";
    cell.style.backgroundColor = `color-mix(in srgb, ${colour} ${Math.round(8 + 38 * share)}%, transparent)`;
  };
  const table = (caption, heads_, body, texts = 1) => { // the first columns are texts, the others numbers
    const made = document.createElement("table");
    made.createCaption().textContent = caption;
    const head = made.createTHead().insertRow();
    heads_.forEach((text, k) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (k >= texts) cell.className = "n";
      cell.textContent = text;
      head.append(cell);
    });
    const rows_ = made.createTBody();
    for (const [name, values] of body) {
      const row = rows_.insertRow(), title = document.createElement("th");
      title.scope = "row";
      title.textContent = name;
      row.append(title);
      values.forEach(([text, value, low, high, hint], k) => {
        const cell = row.insertCell();
        if (k + 1 >= texts) cell.className = "n";
        cell.textContent = text;
        if (hint) cell.title = hint;
        if (low !== undefined) paint(cell, value, low, high);
      });
    }
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    scroll.append(made);
    return scroll;
  };

  const show = () => {
    const column = Number(figure.value), name = figure.selectedOptions[0].textContent;
    const made = [];
    if (down && down.value !== across.value) {
      const a = Number(down.value), b = Number(across.value), columns = levels(b);
      const grid = levels(a).map((one) => [one, columns.map((other) => of((row) => row[a] === one && row[b] === other, column))]);
      const known = grid.flatMap(([, of_]) => of_).filter(Boolean).map((v) => v.mean);
      const low = Math.min(...known), high = Math.max(...known);
      const body = grid.map(([one, of_]) => [one, of_.map((v) => [shown(v?.mean), v?.mean, low, high, v && `${v.count} runs, ${shown(v.low)} to ${shown(v.high)}`])]);
      made.push(table(`Mean ${name}: ${down.selectedOptions[0].textContent} down, ${across.selectedOptions[0].textContent} across`, [`${down.selectedOptions[0].textContent} ↓ ${across.selectedOptions[0].textContent} →`, ...columns], body));
    }
    const effects = factors.flatMap(([factor, k]) => levels(k).map((level) => [factor, level, of((row) => row[k] === level, column)]));
    const known = effects.map(([, , v]) => v).filter(Boolean).map((v) => v.mean);
    const low = Math.min(...known), high = Math.max(...known);
    made.push(table(`Mean ${name} by factor, over everything else`, ["factor", "level", "mean", "least", "most", "runs"],
      effects.map(([factor, level, v]) => [factor, [[level], [shown(v?.mean), v?.mean, low, high], [shown(v?.low)], [shown(v?.high)], [v ? v.count : 0]]]), 2));
    box.querySelector(".shown").replaceChildren(...made);
  };
  show();
}
