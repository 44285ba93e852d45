// The pad: strokes by mouse, pen, finger and keyboard, and how they look on the screen.
"use strict";
{
  const { trace, PEN, MARGIN } = globalThis.drawing;
  const STEPS = 20; // of the keyboard's pen, across the pad
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  /** Connect an element with strokes. `changed()` follows each change, `ended(how)` each end of a stroke. */
  class Pad {
    #element;
    #canvas;
    #strokes;
    #heard;
    #pointer = null; // of several fingers only the first draws
    #cursor = { column: STEPS / 2, row: STEPS / 2, shown: false };
    #held = new Set();
    #frame = 0;

    constructor(element, strokes, heard) {
      this.#element = element;
      this.#canvas = element.querySelector("canvas");
      this.#strokes = strokes;
      this.#heard = heard;
      this.#hearPointers();
      this.#hearKeys();
      new ResizeObserver(() => this.draw()).observe(element);
    }

    /** Whether the keyboard's pen is on the paper. */
    get #isDown() { return this.#strokes.isDrawing && this.#pointer === null; }

    // ---- pointers ----------------------------------------------------------------------------------------

    #hearPointers() {
      const element = this.#element;
      element.addEventListener("pointerdown", (event) => this.#down(event));
      element.addEventListener("pointermove", (event) => this.#move(event));
      for (const kind of ["pointerup", "pointercancel", "lostpointercapture"])
        element.addEventListener(kind, (event) => this.#up(event));
      element.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch draws a dot
    }

    #down(event) {
      if (this.#pointer !== null || event.button !== 0) return;
      this.#pointer = event.pointerId;
      this.#hideCursor();
      this.#strokes.begin(...this.#placeOf(event));
      this.#heard.changed();
      this.#element.setPointerCapture(event.pointerId); // so that the end is heard outside the pad too
    }

    /** Add all points since the last event: pens report more of them than there are events. */
    #move(event) {
      if (event.pointerId !== this.#pointer || !this.#strokes.isDrawing) return;
      const all = event.getCoalescedEvents?.() ?? [];
      const isNew = [...(all.length ? all : [event])].map((one) => this.#strokes.extend(...this.#placeOf(one)));
      if (isNew.includes(true)) this.#heard.changed();
    }

    #up(event) {
      if (event.pointerId !== this.#pointer) return;
      this.#pointer = null;
      if (!this.#strokes.isDrawing) return; // it was undone while it was drawn
      this.#strokes.end();
      this.#heard.ended("pointer");
    }

    #placeOf(event) {
      const frame = this.#canvas.getBoundingClientRect();
      return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    }

    // ---- keyboard ----------------------------------------------------------------------------------------

    #hearKeys() {
      const element = this.#element;
      element.addEventListener("keydown", (event) => this.#keyDown(event));
      element.addEventListener("keyup", (event) => this.#held.delete(event.key));
      element.addEventListener("focus", () => element.matches(":focus-visible") && this.#showCursor());
      element.addEventListener("blur", () => this.#leave());
    }

    #keyDown(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const isPen = event.key === " " || event.key === "Enter";
      if (event.key in ARROWS) this.#step(event.key, event.shiftKey ? 0.25 : 1);
      else if (isPen && !event.repeat && this.#pointer === null) this.#turnPen();
      else if (event.key === "Escape" && this.#isDown) this.#liftPen();
      else if (!isPen) return;
      event.preventDefault(); // the page does not scroll
    }

    /** Move the pen by all arrows that are held: two of them go aslant. */
    #step(key, length) {
      this.#held.add(key);
      if (this.#pointer !== null) return;
      const cursor = this.#cursor;
      const last = STEPS - 1;
      for (const [across, down] of [...this.#held].map((held) => ARROWS[held])) {
        cursor.column = Math.min(last, Math.max(1, cursor.column + across * length));
        cursor.row = Math.min(last, Math.max(1, cursor.row + down * length));
      }
      this.#showCursor();
      if (this.#isDown && this.#strokes.extend(...this.#place())) this.#heard.changed();
      this.#tell();
    }

    #turnPen() {
      if (this.#isDown) return this.#liftPen();
      this.#showCursor();
      this.#strokes.begin(...this.#place());
      this.#tell();
      this.#heard.changed();
    }

    #liftPen() {
      this.#strokes.end();
      this.#tell();
      this.#heard.ended("keyboard");
    }

    #leave() {
      this.#held.clear(); // their ends are not heard elsewhere
      if (this.#isDown) this.#liftPen();
      this.#hideCursor();
    }

    #place() { return [this.#cursor.column / STEPS, this.#cursor.row / STEPS]; }

    /** Say where the pen is, and whether it draws. */
    #tell() {
      const { column, row } = this.#cursor;
      this.#heard.said(`Pen ${this.#isDown ? "down" : "up"}: ${column} across, ${row} down`);
    }

    #showCursor() {
      this.#cursor.shown = true;
      this.draw();
    }

    #hideCursor() {
      this.#cursor.shown = false;
      this.#heard.said("");
      this.draw();
    }

    // ---- the picture on the screen -----------------------------------------------------------------------

    /** Draw at the next frame, however often it is asked for before. */
    draw() {
      cancelAnimationFrame(this.#frame);
      this.#frame = requestAnimationFrame(() => this.#paint());
    }

    #paint() {
      const canvas = this.#canvas;
      const side = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
      if (canvas.width !== side) canvas.width = canvas.height = side;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, side, side);
      context.fillStyle = context.strokeStyle = getComputedStyle(canvas).color;
      trace(context, this.#strokes.all, side);
      if (this.#cursor.shown) this.#paintCursor(context, side);
    }

    /** A ring of the pen's width, filled while the pen is down, on a ring of the paper's colour. */
    #paintCursor(context, side) {
      const [x, y] = this.#place().map((value) => value * side);
      const style = getComputedStyle(this.#element);
      const ring = (radius, width, colour) => {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        [context.strokeStyle, context.lineWidth] = [colour, width];
        context.stroke();
      };
      const radius = (PEN / 2) * side;
      ring(radius, side / 60, style.backgroundColor);
      ring(radius, side / 120, style.outlineColor);
      context.beginPath();
      context.arc(x, y, this.#isDown ? radius * 0.7 : side / 150, 0, 2 * Math.PI);
      context.fillStyle = style.outlineColor;
      context.fill();
    }
  }

  globalThis.Pad = Pad;
}
