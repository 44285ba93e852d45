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

  /** Return what the service answers, as data, or throw its sentence. */
  async function ask(path, { stop, ...options } = {}) {
    let response, found;
    try {
      response = await fetch(path, { ...options, signal: patience(stop) });
      found = await response.text(); // it may break off, too
    } catch (error) {
      const what = error.name === "TimeoutError" ? "is slow" : "does not answer";
      throw failure(`The service ${what}. Trying again.`, AGAIN);
    }
    found = parsed(found);
    if (response.ok && found) return found;
    if (response.ok) throw failure("The service answered something else than was asked. Trying again.", AGAIN);
    const sentence = found?.error ?? `The service answered with status ${response.status}.`;
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
  const send = async (path, ink, stop) =>
    ask(path, { method: "POST", body: await png(ink), headers: { "Content-Type": "image/png" }, stop });

  /** Return what a model says of a drawing, and which model that was: the service may have another one by now. */
  async function recognise(ink, stop) {
    const { model, predictions } = await send("predict?explain=1", ink, stop);
    return { ...predictions[0], model };
  }

  let keeps = false; // whether the service keeps drawings

  async function describe() {
    const model = await ask("model");
    keeps = model.keeps;
    return model;
  }

  /** Tell the service the true class of a drawing, if it keeps drawings; else nothing is sent. */
  async function correct(ink, className) {
    if (!keeps) return { kept: false, message: `Thank you: it is ${className}. Nothing is kept.` };
    const { kept } = await send(`corrections?class=${encodeURIComponent(className)}`, ink);
    return { kept, message: `Thank you. Your drawing is kept as ${className}.` };
  }

  globalThis.recogniser = { describe, recognise, correct };
}
