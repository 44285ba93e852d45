// The page: puts drawing, asking and showing together.
"use strict";
{
  // What the scripts before this one make; that of the recogniser is the last before it.
  const PARTS = {
    drawing: "strokes.js", Pad: "pad.js", answers: "bars.js", Inside: "picture.js", Asking: "asking.js",
    recogniser: document.currentScript.previousElementSibling.getAttribute("src"),
  };
  const absent = Object.keys(PARTS).find((name) => !globalThis[name]);
  if (absent) {
    const wrong = `The file ${PARTS[absent]} is missing or incomplete. Load the page again, or copy the whole folder.`;
    document.getElementById("trouble").textContent = wrong;
    throw new Error(wrong);
  }

  const { Strokes, rasterised } = globalThis.drawing;
  const { Bars, inWords, made, named } = globalThis.answers;
  const $ = (id) => document.getElementById(id);

  const strokes = new Strokes();
  const inside = new Inside($("inside"));
  let model = null; // what is recognised, as `describe` says
  let isDoubtful = false; // whether the service may have been started anew since
  let isDescribing = false; // whether the service is being asked what it recognises
  const followed = new Set(); // versions of other models that answered: the service is asked once about each
  let askingAgain = 0; // the timer of the next question what is recognised
  let bars = null;
  let last = null; // the last answer, and the strokes that it is about
  let changes = 0; // counted, so that an answer to the drawing of now is known as such
  let corrected = null; // the drawing and class that were last said to belong together
  let toSay = null; // what a screen reader is told before the answer, once there is one

  // ---- drawing -------------------------------------------------------------------------------------------

  const asking = new Asking(
    () => ({ ink: rasterised(strokes.all), strokes: [...strokes.all], changes }),
    { answered, failed, slow: () => trouble("The answer takes a while.") },
  );
  const pad = new Pad($("pad"), strokes, { changed, ended, said: (text) => ($("pen").textContent = text) });

  /** Follow a change of the drawing, of any kind. */
  function changed() {
    changes += 1;
    pad.draw();
    $("pad").classList.toggle("empty", strokes.isEmpty);
    enable($("undo"), strokes.canUndo);
    enable($("redo"), strokes.canRedo);
    enable($("clear"), !strokes.isEmpty);
    $("thanks").textContent = "";
    if (strokes.isEmpty) rest();
    else if (model) asking.want();
  }

  /** Follow the end of a stroke: the answer to it is spoken, those during the stroke are not. */
  function ended() {
    toSay = `Stroke ${strokes.all.length}`;
    changed();
  }

  /** A button that cannot be used stays where the focus is: it is said to be disabled, and does nothing. */
  function enable(button, isEnabled) {
    button.setAttribute("aria-disabled", String(!isEnabled));
  }

  // Each returns whether there is something to do, does it, and says what was done.
  const actions = {
    undo: () => [strokes.canUndo, strokes.undo(), "Undone"],
    redo: () => [strokes.canRedo, strokes.redo(), "Redone"],
    clear: () => [!strokes.isEmpty, strokes.clear(), "Cleared"],
  };

  function act(name) {
    const [isPossible, , done] = actions[name]();
    if (!isPossible) return;
    toSay = done;
    changed();
    if (strokes.isEmpty) say(`${done}. The pad is empty.`);
  }

  for (const name of Object.keys(actions)) $(name).addEventListener("click", () => act(name));
  document.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
    let name = null;
    if (isCommand && key === "z") name = event.shiftKey ? "redo" : "undo";
    else if (isCommand && key === "y") name = "redo";
    else if (key === "delete" && !isCommand) name = "clear";
    if (!name) return;
    event.preventDefault();
    act(name);
  });

  // ---- showing -------------------------------------------------------------------------------------------

  const say = (text) => ($("said").textContent = text);
  const trouble = (text) => ($("trouble").textContent = text);

  /** Show an answer in large, its words in parts. Nothing beside it moves: it has its room. */
  function showAnswer(mark, words, isSure) {
    $("answer").querySelector(".mark").textContent = mark;
    $("answer").querySelector(".words").replaceChildren(...words);
    $("answer").classList.toggle("sure", isSure);
    $("answer").classList.toggle("long", mark.length > 2);
  }

  const TWO_MODELS = "The service answers for two models. Load the page again.";

  /** Ask about another model that answered. Once: where two of them answer in turn, that would have no end. */
  function follow(version) {
    followed.add(version);
    start();
  }

  /** Follow an answer, which is about the drawing as it was when it was asked. */
  function answered(answer, looked) {
    const { version } = answer.model;
    if (version !== model.version) { // the service has another model now
      if (isDescribing) return;
      if (!followed.has(version)) return follow(version);
    }
    if (answer.probabilities.length !== model.classes.length) throw new Error(TWO_MODELS);
    if (isDoubtful) start();
    last = { answer, strokes: looked.strokes };
    trouble(answer.class === model.classes[answer.index] ? "" : TWO_MODELS);
    const { mark, words } = inWords(answer, model.classes);
    showAnswer(mark, words, answer.sure);
    bars.show(answer.probabilities, answer.index);
    showInside();
    if (toSay && looked.changes === changes) {
      const spoken = $("answer").querySelector(".words").textContent;
      say(`${toSay}. ${answer.sure ? `${mark}, ${spoken}` : spoken}.`);
      toSay = null;
    }
  }

  /**
   * Say what went wrong. Where the drawing itself is refused, there is no answer to it. An error with a class of its
   * own is the browser's, of a mistake in a script: its words are for the console.
   */
  function failed(error) {
    const isOurs = Object.getPrototypeOf(error) === Error.prototype;
    trouble(isOurs ? sentence(error.message) : "The answer cannot be shown. Load the page again.");
    if (!isOurs) console.error(error);
    if (error.retryAfter) {
      isDoubtful = true;
      followed.clear(); // it may come again with any model
    } else blank();
  }

  /** A message as a sentence: those of the service begin small and have no full stop. */
  const sentence = (text) => text.slice(0, 1).toUpperCase() + text.slice(1).replace(/(?<![.!?])$/, ".");

  /** Show what the network sees; again where the colours or the size of the page have changed. */
  function showInside() {
    if (last) inside.show(last.answer, last.strokes, model);
  }

  /** Show an empty pad, and forget what was asked. */
  function rest() {
    asking.drop();
    if (model) trouble("");
    blank();
    showAnswer("", ["Draw, and the network guesses along."], false);
  }

  /** Show no answer: bars at rest, no pictures. */
  function blank() {
    last = null;
    showAnswer("", [], false);
    bars?.rest();
    inside.rest();
  }

  // ---- correcting ----------------------------------------------------------------------------------------

  /** Say the true class of the drawing; once, however often the button is pressed. */
  async function correct(name) {
    if (strokes.isEmpty) return ($("thanks").textContent = "Draw something first.");
    if (corrected === `${changes} ${name}`) return;
    corrected = `${changes} ${name}`;
    try {
      $("thanks").textContent = (await globalThis.recogniser.correct(rasterised(strokes.all), name)).message;
    } catch (error) {
      corrected = null;
      $("thanks").textContent = sentence(error.message);
      start(); // it may keep nothing any more
    }
  }

  /** A button for each class; the names are text, whatever they hold. */
  function classButtons() {
    return model.classes.map((name) => {
      const button = made("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => correct(name));
      return button;
    });
  }

  // ---- the beginning -------------------------------------------------------------------------------------

  /** What one is asked to draw, in words. */
  function subject(classes) {
    if (classes.every((name) => /^\d$/.test(name))) return "a digit";
    if (classes.every((name) => /^\p{Letter}$/u.test(name))) return "a letter";
    if (classes.every((name) => /^[\p{Letter}\d]$/u.test(name))) return "a letter or a digit";
    return "something";
  }

  const MOST_NAMES = 8; // in the sentence above the pad, which stays on the first screen

  /** The classes in a sentence, in parts: the first ones by name. */
  function namedInTurn(classes) {
    const first = classes.slice(0, MOST_NAMES).flatMap((name, index) => (index ? [", ", named(name)] : [named(name)]));
    const more = classes.length - MOST_NAMES;
    return more > 0 ? [...first, ` and ${more} more`] : first;
  }

  /** Name all that depends on the model. */
  function describe() {
    const [height, width] = model.image_shape;
    const what = subject(model.classes);
    $("title").textContent = `Draw ${what}`;
    document.title = `Draw ${what} and watch the network`;
    $("lead").replaceChildren(...what === "something"
      ? ["One of ", ...namedInTurn(model.classes), ": a neural network says which."]
      : ["and watch a neural network recognise it."]);
    $("size").textContent = `Your drawing as ${width}\u00a0×\u00a0${height} squares`
      + (model.crop ? "; the grey border is cut off." : ".");
    $("keeps").textContent = model.keeps
      ? "Your drawing will be kept, under the name that you choose, so that the network can learn from it."
      : "Nothing that you draw is kept.";
    $("classes").replaceChildren(...classButtons());
    const kept = model.keeps ? "Only drawings that you correct are kept." : "Nothing that you draw is kept.";
    $("about").replaceChildren("Model ", named(model.name), `, version ${model.version}. ${kept}`);
    $("note").textContent = model.note ? sentence(model.note) : "";
    bars = new Bars($("bars"), model.classes);
  }

  /** Ask what is recognised, until there is an answer; one can draw meanwhile. */
  async function start() {
    clearTimeout(askingAgain);
    let found;
    isDescribing = true;
    try {
      found = await globalThis.recogniser.describe();
    } catch (error) {
      trouble(sentence(error.message));
      if (error.retryAfter) askingAgain = setTimeout(start, 1000 * error.retryAfter);
      return;
    } finally {
      isDescribing = false;
    }
    isDoubtful = false;
    if (JSON.stringify(found) !== JSON.stringify(model)) { // else nothing changes under the visitor's hands
      model = found;
      describe();
      blank();
    }
    if (strokes.isEmpty) rest();
    else asking.want();
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const CHOICE = "tinygrad_mnist colours"; // a host may show other pages, too

  /** What was chosen at an earlier visit, if anything; a browser may refuse to keep it, or to say it. */
  function colours() {
    try {
      return localStorage.getItem(CHOICE);
    } catch {
      return null;
    }
  }

  /** Follow the system's colours until the button is pressed; then keep what was chosen. */
  function choose(isDark) {
    theme(isDark, true);
    try {
      localStorage.setItem(CHOICE, isDark ? "dark" : "light");
    } catch { /* it holds until the page is closed */ }
  }

  function theme(isDark, isChosen) {
    if (isChosen) document.documentElement.dataset.theme = isDark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(isDark));
    pad.draw();
    showInside();
  }

  $("theme").addEventListener("click", () => choose($("theme").getAttribute("aria-pressed") !== "true"));
  dark.addEventListener("change", () => document.documentElement.dataset.theme || theme(dark.matches, false));
  new ResizeObserver(showInside).observe($("saliency"));
  const chosen = colours();
  theme(chosen ? chosen === "dark" : dark.matches, chosen !== null);
  changed();
  start();
}
