// What one does with the picture: point at boxes, search, walk along arrows.

// ---- one box: its words, and what leads to it and away from it -----------------------------------------

let kept = null; // chosen by a click or by the keyboard
let shown = null; // that, or the one under the pointer

const boxAt = (target) => level?.byId.get(target.closest?.(".node")?.dataset.id);

function reach(box, arrows, end) {
  const found = new Set();
  const waiting = [box];
  while (waiting.length) {
    for (const arrow of waiting.pop()[arrows]) {
      if (!found.has(arrow)) {
        found.add(arrow);
        waiting.push(arrow[end]);
      }
    }
  }
  return found;
}

function tell(box) {
  if (box === shown) return;
  for (const element of level.svg.querySelectorAll(".on")) element.classList.remove("on");
  shown = box;
  level.svg.classList.toggle("lit", Boolean(box));
  if (box) {
    box.element.classList.add("on");
    for (const [arrows, end] of [["before", "tail"], ["after", "head"]]) {
      for (const arrow of reach(box, arrows, end)) {
        arrow.element?.classList.add("on");
        arrow[end].element.classList.add("on");
      }
    }
  }
  rings();
  panel(box);
}

function keep(box, focus = true) {
  kept = box;
  if (focus) box.element.focus({ preventScroll: true });
  tell(box);
  rings();
}

function release() {
  if (!level) return;
  kept = null;
  tell(null);
}

function rings() {
  const ring = (box, kind, room) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const { x, y, w, h } = box.place;
    const at = { x: x - room, y: y - room, width: w + 2 * room, height: h + 2 * room, rx: 7, class: kind };
    for (const [name, value] of Object.entries(at)) rect.setAttribute(name, value);
    return rect;
  };
  level.rings.replaceChildren(
    ...hits.filter((box) => box !== shown).map((box) => ring(box, "found", 3)),
    ...(shown ? [ring(shown, shown === kept ? "ring kept" : "ring", 4)] : []));
}

function panel(box) {
  if (!box) {
    $("name").textContent = "Nothing is chosen";
    $("what").textContent = "Point at a box, or press Tab, to see what it holds, where it comes from and where it goes.";
    return $("about").replaceChildren();
  }
  $("name").textContent = box.title;
  $("what").textContent = [...new Set([box.kind, ...box.lines])].filter(Boolean).join(" · ");
  const parts = [];
  if (box.marks.length) {
    const marks = make("p", "", { class: "marks" });
    marks.append(...box.marks.map((mark) => make("span", mark)));
    parts.push(marks);
  }
  const list = make("dl");
  for (const [name, value] of box.details) {
    const statistics = /^min /.test(value);
    const told = make("dd", statistics ? "" : value, { class: statistics ? "across" : name === "line" ? "across code" : "" });
    if (statistics) told.append(...value.split(", ").map((part) => make("span", part)));
    list.append(make("dt", name), told);
  }
  parts.push(list, ...links("Comes from", box.before, "tail"), ...links("Goes to", box.after, "head"));
  const inside = deeper(box);
  if (inside) {
    const button = make("button", inside.one.depth === "inside" ? "Open the first" : `Open at depth ${inside.one.depth}`, { type: "button", class: "open" });
    button.addEventListener("click", () => show(inside.one, inside.boxes));
    parts.push(button);
  }
  $("about").replaceChildren(...parts);
}

function links(heading, arrows, end) {
  if (!arrows.length) return [];
  const list = make("ul", "", { class: "links" });
  for (const arrow of arrows.slice(0, 12)) {
    const box = arrow[end];
    const button = make("button", [box.title, arrow.label].filter(Boolean).join(" · "), { type: "button" });
    button.addEventListener("click", () => visit(box));
    const item = make("li");
    item.append(button);
    list.append(item);
  }
  if (arrows.length > 12) list.append(make("li", `and ${arrows.length - 12} more`));
  return [make("h3", heading), list];
}

/** The next level that shows the inside of a box, and the boxes there. */
function deeper(box) {
  const rows = new Set(box.rows);
  for (const one of levels) {
    if (one.view !== level.view || one.boxes.length <= level.boxes.length) continue;
    const boxes = one.boxes.filter((other) => other.rows.length < rows.size && other.rows.some((row) => rows.has(row)));
    if (boxes.length > 1) return { one, boxes };
  }
  return null;
}

/** Bring a box into sight if it is not, and keep it. */
function visit(box) {
  const { x, y, w, h, cx, cy } = box.place;
  const inside = x > eye.x && y > eye.y && x + w < eye.x + eye.w && y + h < eye.y + eye.h;
  if (!inside) look({ ...eye, x: cx - eye.w / 2, y: cy - eye.h / 2 });
  keep(box);
}

picture.addEventListener("pointerover", (event) => {
  if (level && !drag?.far) tell(boxAt(event.target) ?? kept);
});
picture.addEventListener("pointerleave", () => level && tell(kept));
picture.addEventListener("focusin", (event) => {
  const box = boxAt(event.target);
  if (box && box !== kept && !drag) visit(box);
});
picture.addEventListener("click", (event) => {
  if (!level || drag?.far) return;
  const box = boxAt(event.target);
  if (box) keep(box);
  else release();
});
picture.addEventListener("dblclick", (event) => boxAt(event.target) && enter(boxAt(event.target)));

function enter(box) {
  const inside = deeper(box);
  if (inside) show(inside.one, inside.boxes);
}

// ---- search ---------------------------------------------------------------------------------------------

let hits = [];
let current = -1;

/** All that a box can be found by: its words, and the ids of the nodes that it stands for. */
function wordsOf(box) {
  const ids = box.rows.map((row) => names[row]);
  return (box.words ??= [box.id, box.title, ...box.lines, ...box.marks, ...box.details.flat(), ...ids].join("\n").toLowerCase());
}

function search() {
  const query = $("query").value.trim().toLowerCase();
  hits = query ? level.boxes.filter((box) => wordsOf(box).includes(query)) : [];
  current = -1;
  count(query);
  rings();
}

function count(query = $("query").value.trim()) {
  const boxes = `${hits.length} ${hits.length === 1 ? "box" : "boxes"}`;
  $("hits").value = !query ? "" : current < 0 ? boxes : `${current + 1} of ${hits.length}`;
}

$("query").addEventListener("input", search);
$("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && hits.length) {
    current = (current + (event.shiftKey ? -1 : 1) + hits.length + (current < 0 && event.shiftKey ? 1 : 0)) % hits.length;
    const box = hits[current];
    look({ ...eye, x: box.place.cx - eye.w / 2, y: box.place.cy - eye.h / 2 });
    keep(box, false);
    count();
  } else if (event.key === "Escape") {
    event.preventDefault();
    $("query").value = "";
    search();
    $("query").blur();
  } else return;
  event.stopPropagation();
});

// ---- keys -----------------------------------------------------------------------------------------------

/** The box that an arrow key leads to: a neighbour in that direction, else the nearest one there. */
function towards(box, dx, dy) {
  const ahead = (other) => {
    const [x, y] = [other.place.cx - box.place.cx, other.place.cy - box.place.cy];
    const [along, aside] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
    return along > 4 ? along + 2 * aside : Infinity;
  };
  const nearest = (boxes) => boxes.filter((other) => ahead(other) < Infinity).sort((a, b) => ahead(a) - ahead(b))[0];
  const beside = [...box.before.map((arrow) => arrow.tail), ...box.after.map((arrow) => arrow.head)];
  return nearest(beside) ?? nearest(level.boxes);
}

function step(by) {
  const same = levels.filter((one) => one.view === level.view);
  const next = same[same.indexOf(level) + by];
  if (next) show(next);
}

const keys = {
  "/": () => $("query").select(),
  "?": () => $("help").showModal(),
  "+": () => zoom(1 / 1.25),
  "=": () => zoom(1 / 1.25),
  "-": () => zoom(1.25),
  0: () => look(shaped(level.whole)),
  f: () => look(shaped(level.whole)),
  "[": () => step(-1),
  "]": () => step(1),
  Escape: () => {
    if (picture.contains(document.activeElement)) document.activeElement.blur();
    release();
  },
};
const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

addEventListener("keydown", (event) => {
  if (!level || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input")) return;
  const box = picture.contains(document.activeElement) ? kept : null;
  if (box && directions[event.key]) {
    const next = towards(box, ...directions[event.key]);
    if (next) visit(next);
  } else if (box && event.key === "Enter") enter(box);
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("#zoom button")) {
  button.addEventListener("click", () => keys[button.dataset.key]());
}
$("ask").addEventListener("click", () => $("help").showModal());
