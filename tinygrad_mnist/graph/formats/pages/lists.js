// The lists beside the picture, the colours, paper, and the beginning.

// ---- the lists: what they name is shown in the picture -------------------------------------------------

const rowButtons = [...document.querySelectorAll("[data-row]")];
const names = rowButtons.map((button) => button.textContent);

function find(rows) {
  if (!level) return;
  const boxes = level.boxes.filter((box) => box.rows.some((row) => rows.has(row)));
  if (!boxes.length) return say("not in this picture");
  look(around(boxes));
  keep(boxes[0], false);
  $("stage").scrollIntoView({ block: "nearest" });
}

document.body.addEventListener("click", (event) => {
  const { row, cluster } = event.target.closest("button")?.dataset ?? {};
  if (row !== undefined) find(new Set([Number(row)]));
  if (cluster !== undefined) find(rowsIn(Number(cluster)));
});

function rowsIn(cluster) {
  const inside = new Set([cluster]); // a cluster comes after the one around it
  data.clusters.forEach((parent, number) => inside.has(parent) && inside.add(number));
  return new Set(data.rows.flatMap((home, row) => (inside.has(home) ? [row] : [])));
}

for (const [column, head] of [...document.querySelectorAll("thead th")].entries()) {
  const button = make("button", head.textContent, { type: "button" });
  head.replaceChildren(button);
  button.addEventListener("click", () => sort(head, column));
}

function sort(head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = document.querySelector("tbody");
  const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const rows = [...body.rows].map((row) => [key(row), row]);
  const number = (text) => (text === "" || text === "-" ? NaN : Number(text));
  rows.sort(([a], [b]) => {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) {
      return Number.isNaN(x) && Number.isNaN(y) ? (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1) : Number.isNaN(x) - Number.isNaN(y);
    }
    return down ? y - x : x - y;
  });
  body.append(...rows.map(([, row]) => row));
}

// ---- colours, paper, and the beginning ------------------------------------------------------------------

const system = matchMedia("(prefers-color-scheme: dark)");
const dress = (dark) => {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", dark);
};
system.addEventListener("change", () => dress(system.matches));
$("theme").addEventListener("click", () => dress(document.documentElement.dataset.theme !== "dark"));
dress(system.matches);

let before = null;
addEventListener("beforeprint", () => {
  if (!level) return;
  before = [eye, document.documentElement.dataset.theme];
  release();
  set(level.whole);
  dress(false);
});
addEventListener("afterprint", () => {
  if (!before) return;
  set(before[0]);
  dress(before[1] === "dark");
});

$("tools").hidden = false;
if (levels.length) {
  picture.classList.add("live");
  $("zoom").hidden = false;
  show(levels[data.start]);
}
