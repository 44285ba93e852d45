// The recogniser that the page asks: the service that sent the page.
"use strict";
{
  const PATIENCE = 15000; // milliseconds
  const AGAIN = 2; // seconds until the next try, where the service does not say
  const PASSING = new Set([408, 429, 500, 502, 503, 504]); // may be right the next time

  /** An error with a sentence; with `retryAfter`, in seconds, where the same may succeed later. */
  const failure = (sentence, retryAfter) => Object.assign(new Error(sentence), { retryAfter });

  /** Return what the service answers, as data, or throw its sentence. */
  async function ask(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE) });
    } catch (error) {
      const what = error.name === "TimeoutError" ? "is slow" : "does not answer";
      throw failure(`The service ${what}. Trying again.`, AGAIN);
    }
    const found = await response.json().catch(() => ({}));
    if (response.ok) return found;
    const sentence = found.error ?? `The service answered with status ${response.status}.`;
    const wait = Number(response.headers.get("Retry-After")) || AGAIN;
    throw Object.assign(failure(sentence, PASSING.has(response.status) ? wait : undefined), { status: response.status });
  }

  /** Make a PNG of a drawing. */
  async function png({ width, height, values }) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    values.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
    context.putImageData(image, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  /** Send a drawing to a path. */
  const send = async (path, ink) =>
    ask(path, { method: "POST", body: await png(ink), headers: { "Content-Type": "image/png" } });

  /** Return what a model says of a drawing. */
  const recognise = async (ink) => (await send("predict?explain=1", ink)).predictions[0];

  /** Tell the service the true class of a drawing, which it keeps if it was started so. */
  async function correct(ink, className) {
    try {
      const { kept } = await send(`corrections?class=${encodeURIComponent(className)}`, ink);
      return { kept, message: `Thank you. Your drawing is kept as ${className}.` };
    } catch (error) {
      if (error.status !== 403) throw error;
      return { kept: false, message: `Thank you: it is ${className}. Nothing is kept.` };
    }
  }

  globalThis.recogniser = { describe: () => ask("model"), recognise, correct };
}
