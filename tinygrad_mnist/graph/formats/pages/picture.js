// The picture: which level is shown, and which part of it. The three scripts are one; see graph.html.

const $ = (id) => document.getElementById(id);
const make = (tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const data = JSON.parse($("data").textContent);
const picture = $("picture");
const still = matchMedia("(prefers-reduced-motion: reduce)");

// ---- levels: the picture of one is in the document, those of the others wait in templates ---------------

const templates = document.querySelectorAll("template.level");
const levels = data.levels.map((level, number) => ({
  ...level,
  svg: (number === data.start ? picture : templates[number].content).querySelector("svg"),
  byId: new Map(level.boxes.map((box) => [box.id, box])),
}));
let level; // the one that is shown

/** Give boxes their elements and neighbours, the first time that a level is shown. */
function wire(one) {
  if (one.wired) return;
  one.wired = true;
  const { svg } = one;
  for (const box of one.boxes) Object.assign(box, { before: [], after: [] });
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", one.title);
  const size = svg.viewBox.baseVal;
  one.whole = { x: size.x, y: size.y, w: size.width, h: size.height };
  for (const title of svg.querySelectorAll("title")) title.remove(); // the panel says more
  for (const element of svg.querySelectorAll("g.node")) one.byId.get(element.dataset.id).element = element;
  const drawn = Map.groupBy(svg.querySelectorAll("g.edge"), ({ dataset }) => dataset.source + "\n" + dataset.target);
  for (const arrow of one.arrows) {
    arrow.element = drawn.get(arrow.source + "\n" + arrow.target).shift();
    arrow.element.setAttribute("aria-hidden", "true");
    const line = arrow.element.querySelector("path");
    arrow.element.style.setProperty("--width", `${line.getAttribute("stroke-width") ?? 1}px`);
    [arrow.tail, arrow.head] = [one.byId.get(arrow.source), one.byId.get(arrow.target)];
    arrow.tail.after.push(arrow);
    arrow.head.before.push(arrow);
  }
  for (const box of one.boxes) {
    // In the order of the computation, so that Tab follows it; arrows come to lie beneath.
    box.element.parentNode.append(box.element);
    box.element.setAttribute("tabindex", "0");
    box.element.setAttribute("role", "button");
    box.element.setAttribute("aria-label", [box.title, ...box.lines, ...box.marks].join(", "));
  }
  one.rings = document.createElementNS("http://www.w3.org/2000/svg", "g");
  svg.append(one.rings);
}

function show(one, boxes = []) {
  if (one !== level) {
    release();
    wire(one);
    picture.replaceChildren(one.svg);
    level = one;
    for (const box of one.boxes) box.place ??= placeOf(box.element);
    [$("title").textContent, $("totals").textContent] = parted(one.title);
    $("title").parentElement.title = one.title; // the row may have no room for all of it
    $("notes").replaceChildren(...one.notes.map((note) => make("li", note)));
    choices();
    search();
    say(`${one.view}, depth ${one.depth}: ${one.boxes.length} boxes`);
  }
  if (boxes.length) {
    look(around(boxes));
    keep(boxes.find((box) => !["parameter", "buffer"].includes(box.kind)) ?? boxes[0]);
  } else look(opening());
}

/** A title and what follows its first colon. */
const parted = (title) => title.match(/^(.*?)(?:: (.*))?$/s).slice(1);

function choices() {
  const views = [...new Set(levels.map((one) => one.view))];
  const same = levels.filter((one) => one.view === level.view);
  fill($("views"), views.length > 1 ? views : [], level.view, (view) => {
    const there = levels.filter((one) => one.view === view);
    show(there.find((one) => one.depth === level.depth && !one.bare) ?? there.find((one) => one.first) ?? there[0]);
  });
  const depths = same.map((one) => one.depth);
  $("deep").hidden = depths.length < 2;
  fill($("depths"), depths, level.depth, (depth) =>
    show(same.find((one) => one.depth === depth)));
}

function fill(group, names, chosen, choose) {
  const focused = group.contains(document.activeElement);
  group.replaceChildren(...names.map((name) => {
    const button = make("button", name, { type: "button", "aria-pressed": name === chosen });
    if (name === "inside") button.title = "The first of the equal modules that are one box stands open";
    button.addEventListener("click", () => choose(name));
    return button;
  }));
  if (focused) group.querySelector("[aria-pressed=true]")?.focus();
}

const say = (text) => ($("said").textContent = text);

// ---- where one looks: a rectangle of the picture --------------------------------------------------------

const NATURAL = 4 / 3; // points of the picture are so many of the page
let eye; // x, y, w, h
let flight = 0;

/** Where an element is, in units of the picture. */
function placeOf(element) {
  const inner = element.getBBox();
  const matrix = level.svg.getScreenCTM().inverse().multiply(element.getScreenCTM());
  const at = (x, y) => new DOMPoint(x, y).matrixTransform(matrix);
  const [a, b] = [at(inner.x, inner.y), at(inner.x + inner.width, inner.y + inner.height)];
  return { x: a.x, y: a.y, w: b.x - a.x, h: b.y - a.y, cx: (a.x + b.x) / 2, cy: (a.y + b.y) / 2 };
}

/** Widen a rectangle to the shape of the stage. */
function shaped({ x, y, w, h }) {
  const shape = picture.clientWidth / picture.clientHeight;
  const [wide, high] = w / h > shape ? [w, w / shape] : [h * shape, h];
  return { x: x - (wide - w) / 2, y: y - (high - h) / 2, w: wide, h: high };
}

const scaleOf = (view) => picture.clientWidth / view.w;

/** The whole where it can be read, else its beginning at a size that can. */
function opening() {
  const whole = shaped(level.whole);
  const scale = scaleOf(whole);
  if (scale > 1.5) return zoomed(whole, scale / 1.5);
  if (scale > 0.9) return whole;
  const view = zoomed(whole, scale / NATURAL);
  const top = level.boxes.reduce((one, other) => (other.place.y < one.place.y ? other : one));
  if (view.h < level.whole.h) view.y = level.whole.y;
  if (view.w < level.whole.w) view.x = top.place.cx - view.w / 2;
  return view;
}

function around(boxes) {
  const [x, y] = [Math.min(...boxes.map((b) => b.place.x)), Math.min(...boxes.map((b) => b.place.y))];
  const right = Math.max(...boxes.map((b) => b.place.x + b.place.w));
  const bottom = Math.max(...boxes.map((b) => b.place.y + b.place.h));
  const room = 40;
  const view = shaped({ x: x - room, y: y - room, w: right - x + 2 * room, h: bottom - y + 2 * room });
  return scaleOf(view) > 1.5 ? zoomed(view, scaleOf(view) / 1.5) : view;
}

/** A rectangle `factor` times as large, with one point of it where it was. */
function zoomed(view, factor, x = view.x + view.w / 2, y = view.y + view.h / 2) {
  return { x: x - (x - view.x) * factor, y: y - (y - view.y) * factor, w: view.w * factor, h: view.h * factor };
}

function set(view) {
  eye = view;
  level.svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
}

/** Go to a rectangle, gently. */
function look(view) {
  cancelAnimationFrame(flight);
  if (still.matches || !eye || !level.seen) {
    level.seen = true;
    return set(view);
  }
  const [from, start] = [eye, performance.now()];
  const step = (now) => {
    const t = Math.min(1, Math.max(0, (now - start) / 220));
    const s = t * t * (3 - 2 * t);
    const mix = (key) => from[key] + (view[key] - from[key]) * s;
    set({ x: mix("x"), y: mix("y"), w: mix("w"), h: mix("h") });
    if (t < 1) flight = requestAnimationFrame(step);
  };
  flight = requestAnimationFrame(step);
}

function zoom(factor, x, y) {
  const least = picture.clientWidth / 6; // six times the natural size
  const most = 2 * Math.max(shaped(level.whole).w, least);
  const within = Math.min(most / eye.w, Math.max(least / eye.w, factor));
  cancelAnimationFrame(flight);
  set(zoomed(eye, within, x, y));
}

function pointed(event) {
  const frame = picture.getBoundingClientRect();
  return [eye.x + (event.clientX - frame.left) / scaleOf(eye), eye.y + (event.clientY - frame.top) / scaleOf(eye)];
}

picture.addEventListener("wheel", (event) => {
  if (!level) return;
  event.preventDefault();
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), ...pointed(event));
}, { passive: false });

let drag = null;
picture.addEventListener("pointerdown", (event) => {
  if (level && event.button === 0) drag = { x: event.clientX, y: event.clientY, from: eye, far: false };
});
addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (Math.hypot(dx, dy) > 4 && !drag.far) {
    drag.far = true;
    cancelAnimationFrame(flight);
    level.svg.classList.add("held");
  }
  if (drag.far) set({ ...drag.from, x: drag.from.x - dx / scaleOf(eye), y: drag.from.y - dy / scaleOf(eye) });
});
const drop = () => {
  level?.svg.classList.remove("held");
  setTimeout(() => (drag = null)); // after the click that ends a drag
};
addEventListener("pointerup", drop);
addEventListener("pointercancel", drop);
addEventListener("resize", () => level && set(shaped(eye)));
