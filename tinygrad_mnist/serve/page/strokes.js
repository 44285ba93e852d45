// Strokes: what was drawn, as lines in a square of side 1; undo; and the picture of them that is recognised.
"use strict";
{
  const PEN = 0.07; // the width of the pen, as a share of the side: a digit that fills the pad is as bold as MNIST's
  const MARGIN = 0.025; // stays white on each side, so that the level of the paper can be found
  const SIDE = 280; // pixels of the picture that is recognised, on every screen
  const NEAREST = 0.002; // points closer than this to the last one say nothing new
  const REMEMBERED = 200; // states, for undo

  /** Keep the whole pen inside the margin. */
  const within = (value) => Math.min(1 - MARGIN - PEN / 2, Math.max(MARGIN + PEN / 2, value));

  /** The drawing: a list of states, of which one is current; each is a list of strokes, each a list of points. */
  class Strokes {
    #states = [[]];
    #at = 0;
    #open = null;

    /** All strokes, with the one that is being drawn. */
    get all() {
      const ended = this.#states[this.#at];
      return this.#open ? [...ended, this.#open] : ended;
    }
    get isEmpty() { return this.all.length === 0; }
    get isDrawing() { return this.#open !== null; }
    get canUndo() { return this.#at > 0 || this.isDrawing; }
    get canRedo() { return !this.isDrawing && this.#at + 1 < this.#states.length; }

    begin(x, y) {
      this.end();
      this.#open = [[within(x), within(y)]];
    }

    /** Add a point to the stroke; return whether it is a new one. */
    extend(x, y) {
      const point = [within(x), within(y)];
      const last = this.#open.at(-1);
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAREST) return false;
      this.#open.push(point);
      return true;
    }

    end() {
      if (!this.#open) return;
      const strokes = this.all;
      this.#open = null;
      this.#enter(strokes);
    }

    clear() {
      this.end();
      if (!this.isEmpty) this.#enter([]);
    }

    /** Go back by one stroke, or to before it was cleared; a stroke that is being drawn is dropped. */
    undo() {
      if (this.#open) this.#open = null;
      else if (this.#at > 0) this.#at -= 1;
    }

    redo() {
      if (this.canRedo) this.#at += 1;
    }

    /** A new state; those that were undone are forgotten. */
    #enter(strokes) {
      this.#states = [...this.#states.slice(0, this.#at + 1), strokes].slice(-REMEMBERED);
      this.#at = this.#states.length - 1;
    }
  }

  /** Draw strokes with the context's colours; curves go through the middles between points, so corners are round. */
  function trace(context, strokes, side) {
    context.lineWidth = PEN * side;
    context.lineCap = context.lineJoin = "round";
    for (const points of strokes) {
      const scaled = points.map(([x, y]) => [x * side, y * side]);
      const [first, last] = [scaled[0], scaled.at(-1)];
      context.beginPath();
      if (scaled.length === 1) { // browsers differ on lines without length
        context.arc(...first, (PEN / 2) * side, 0, 2 * Math.PI);
        context.fill();
        continue;
      }
      context.moveTo(...first);
      for (let i = 1; i < scaled.length - 1; i += 1) {
        const [[x, y], [nextX, nextY]] = [scaled[i], scaled[i + 1]];
        context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
      }
      context.lineTo(...last);
      context.stroke();
    }
  }

  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = SIDE;
  const sheetContext = sheet.getContext("2d", { willReadFrequently: true });

  /** The picture of strokes as it is recognised: grey levels, black (0) on white (255), whatever the page's colours. */
  function rasterised(strokes) {
    sheetContext.fillStyle = "#fff";
    sheetContext.fillRect(0, 0, SIDE, SIDE);
    sheetContext.fillStyle = sheetContext.strokeStyle = "#000";
    trace(sheetContext, strokes, SIDE);
    const { data } = sheetContext.getImageData(0, 0, SIDE, SIDE);
    const values = new Uint8Array(SIDE * SIDE);
    for (let i = 0; i < values.length; i += 1) values[i] = data[4 * i];
    return { width: SIDE, height: SIDE, values };
  }

  globalThis.drawing = Object.freeze({ Strokes, trace, rasterised, PEN, MARGIN, SIDE });
}
