// A page that `backtest open` serves: it links to the comparison of the picked runs, and says when
// the folder of runs has changed.
(() => {
  const bar = document.createElement("div");
  bar.className = "live";
  bar.setAttribute("role", "status");
  const link = (text, to) => {
    const made = document.createElement("a");
    made.textContent = text;
    made.href = to;
    return made;
  };
  document.querySelector("header").append(bar);

  const index = location.pathname === "/";
  if (!index) bar.append(link("All runs", "/"));
  const compare = () => {
    const shown = picks.shown();
    bar.replaceChildren();
    if (shown.length) {
      const query = new URLSearchParams(shown.map((entry) => ["run", picks.names[entry]]));
      bar.append(link(shown.length > 1 ? `Compare ${shown.length} runs` : "Open this run", `/compare?${query}`));
    } else {
      bar.append("Pick runs to compare them; a run's name opens its tear sheet.");
    }
  };
  if (index) {
    compare();
    picks.on("change", compare);
  }

  const untouched = () => index && !picks.shown().length && scrollY < 50
    && ![...document.querySelectorAll("input, select")].some((field) => field.type !== "checkbox" && field.value);
  let told = false;
  new EventSource("/changes").addEventListener("message", () => {
    if (untouched()) return location.reload();
    if (told) return;
    told = true;
    const again = link("There is more now: show it", location.href);
    again.className = "more";
    again.addEventListener("click", (event) => { event.preventDefault(); location.reload(); });
    bar.after(again);
  });
})();
