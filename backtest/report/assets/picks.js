// Which runs the page shows. They are picked, coloured and highlighted here for every chart and
// table; whoever draws something asks for `picks.look(entry)` and listens to `picks.on`.
const picks = (() => {
  const bar = document.getElementById("picks");
  const { names, first } = JSON.parse(document.getElementById("entries").textContent);
  const COLOURS = 8, MOST = 24;
  const slots = new Map(); // entry: its slot, which decides on colour and dash
  const listeners = { change: [], light: [] };
  let lit = null;

  const tell = (kind) => listeners[kind].forEach((listener) => listener());

  const free = () => {
    const taken = new Set(slots.values());
    for (let slot = 0; ; slot++) if (!taken.has(slot)) return slot;
  };
  const add = (entry) => {
    if (slots.size < MOST && !slots.has(entry) && names[entry] !== undefined) slots.set(entry, free());
  };
  const changed = () => { show(); tell("change"); };

  const set = (entries) => {
    slots.clear();
    entries.forEach(add);
    changed();
  };
  const toggle = (entry) => {
    if (!slots.delete(entry)) add(entry);
    if (lit === entry && !slots.has(entry)) lit = null;
    changed();
  };
  const light = (entry) => {
    if (lit === entry) return;
    lit = entry;
    for (const chip of bar.querySelectorAll(".chip")) {
      chip.classList.toggle("lit", Number(chip.dataset.entry) === lit);
    }
    tell("light");
  };

  const button = (text, kind, press) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = kind;
    made.textContent = text;
    made.addEventListener("click", press);
    return made;
  };
  const chip = (entry) => {
    const slot = slots.get(entry);
    const made = button(names[entry], "chip", () => toggle(entry));
    made.dataset.entry = entry;
    made.setAttribute("aria-label", `Hide ${names[entry]}`);
    const key = document.createElement("span");
    key.className = `key c${slot % COLOURS} d${Math.floor(slot / COLOURS)}`;
    made.prepend(key);
    for (const begin of ["pointerenter", "focus"]) made.addEventListener(begin, () => light(entry));
    for (const end of ["pointerleave", "blur"]) made.addEventListener(end, () => light(null));
    return made;
  };
  const show = () => {
    bar.hidden = names.length < 2;
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = `${slots.size} of ${names.length} picked`;
    const actions = [];
    if (first.length && names.length > first.length) actions.push(button("first again", "plain", () => set(first)));
    if (slots.size) actions.push(button("none", "plain", () => set([])));
    bar.replaceChildren(title, ...[...slots.keys()].map(chip), ...actions);
  };

  first.forEach(add);
  show();
  return {
    names,
    shown: () => [...slots.keys()],
    has: (entry) => slots.has(entry),
    lit: () => lit,
    look: (entry) => {
      const slot = slots.get(entry) ?? 0;
      return { colour: `--c${slot % COLOURS}`, dash: Math.floor(slot / COLOURS) };
    },
    on: (kind, listener) => listeners[kind].push(listener),
    set, toggle, light,
  };
})();
