// The recogniser that the page asks: the service that sent the page.
"use strict";
{
  const PATIENCE = 15000; // milliseconds
  const AGAIN = 2; // seconds until the next try, where the service does not say
  const PASSING = new Set([408, 429, 500, 502, 503, 504]); // may be right the next time

  /** An error with a sentence; with `retryAfter`, in seconds, where the same may succeed later. */
  const failure = (sentence, retryAfter) => Object.assign(new Error(sentence), { retryAfter });

  /** What ends a question: the time, or a signal where browsers can join two (those before 2024 cannot). */
  function patience(stop) {
    const late = AbortSignal.timeout(PATIENCE);
    return stop && AbortSignal.any ? AbortSignal.any([stop, late]) : late;
  }

  /** Return JSON as data, and null where it is none. */
  function parsed(text) {
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }

  // What the page needs of each answer. A proxy, or another service, may answer with anything.
  const isText = (value) => typeof value === "string";
  const isCount = (value) => Number.isInteger(value) && value > 0;
  const areAll = (values, isOne) => Array.isArray(values) && values.length > 0 && values.every((value) => isOne(value));
  const areNumbers = (values) => areAll(values, Number.isFinite);
  const areRows = (rows) => areAll(rows, (row) => areNumbers(row) && row.length === rows[0].length);
  const areUnits = (units) => Array.isArray(units) && units.every((unit) => areRows(unit?.map) && Number.isFinite(unit.value));

  const isModel = (found) =>
    areAll(found?.classes, isText) && areAll(found.image_shape, isCount) && found.image_shape.length === 2
    && isText(found.name) && isText(found.version);

  const isExplanation = (found) =>
    areRows(found?.saliency) && (!found.first_layer || areUnits(found.first_layer.units));

  /** Whether a prediction can be shown; its explanation may be absent. */
  const isPrediction = (found) =>
    isText(found?.class) && areNumbers(found.probabilities)
    && Number.isInteger(found.index) && found.index in found.probabilities
    && Number.isFinite(found.probability) && areRows(found.image)
    && areRows(found.placement) && found.placement.length === 2 && found.placement[0].length === 3
    && (!found.explanation || isExplanation(found.explanation));

  const isAnswer = (found) => isText(found?.model?.version) && isPrediction(found.predictions?.[0]);
  const isKept = (found) => found?.kept === true;

  /** Return what the service answers, as data, or throw its sentence. An answer that is not right is none. */
  async function ask(path, isRight, { stop, ...options } = {}) {
    let response, found;
    try {
      response = await fetch(path, { ...options, signal: patience(stop) });
      found = await response.text(); // it may break off, too
    } catch (error) {
      const what = error.name === "TimeoutError" ? "is slow" : "does not answer";
      throw failure(`The service ${what}. Trying again.`, AGAIN);
    }
    found = parsed(found);
    if (response.ok && isRight(found)) return found;
    if (response.ok) throw failure("The service answered something else than was asked. Trying again.", AGAIN);
    const sentence = isText(found?.error) ? found.error : `The service answered with status ${response.status}.`;
    const wait = Number(response.headers.get("Retry-After")) || AGAIN;
    throw failure(sentence, PASSING.has(response.status) ? wait : undefined);
  }

  /** Make a PNG of a drawing. */
  async function png({ width, height, values }) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer); // one number a pixel: opaque, three times the grey level
    values.forEach((value, index) => (pixels[index] = 0xff000000 | (value * 0x010101)));
    context.putImageData(image, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  /** Send a drawing to a path. */
  const send = async (path, isRight, ink, stop) =>
    ask(path, isRight, { method: "POST", body: await png(ink), headers: { "Content-Type": "image/png" }, stop });

  /** Return what a model says of a drawing, and which model that was: the service may have another one by now. */
  async function recognise(ink, stop) {
    const { model, predictions } = await send("predict?explain=1", isAnswer, ink, stop);
    return { ...predictions[0], model };
  }

  let keeps = false; // whether the service keeps drawings

  async function describe() {
    const model = await ask("model", isModel);
    keeps = model.keeps;
    return model;
  }

  /** A name within a text: what it does to the direction of writing ends with it. */
  const isolated = (name) => `\u2068${name}\u2069`;

  /** Tell the service the true class of a drawing, if it keeps drawings; else nothing is sent. */
  async function correct(ink, className) {
    if (!keeps) return { kept: false, message: `Thank you: it is ${isolated(className)}. Nothing is kept.` };
    const { kept } = await send(`corrections?class=${encodeURIComponent(className)}`, isKept, ink);
    return { kept, message: `Thank you. Your drawing is kept as ${isolated(className)}.` };
  }

  globalThis.recogniser = { describe, recognise, correct };
}
