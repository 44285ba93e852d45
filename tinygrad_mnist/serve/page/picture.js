// Pictures of what the network sees: the small picture, one's own strokes in colours, the units of the first layer.
"use strict";
{
  const { trace, PEN, SIDE } = globalThis.drawing;
  const { percent } = globalThis.answers;
  const FAINT = 26; // of 255: less is paper, for the scale of the colours

  /** The colours of for and against, and of neither, as [red, green, blue]: those of the legend. */
  function colours() {
    const numbers = (selector) =>
      getComputedStyle(document.querySelector(selector)).backgroundColor.match(/[\d.]+/g).slice(0, 3).map(Number);
    return { positive: numbers(".swatch.for"), negative: numbers(".swatch.against") };
  }

  /** Paint an array (h, w) pixel by pixel; `pixel(value)` is [red, green, blue, alpha]. */
  function paint(canvas, rows, pixel) {
    canvas.height = rows.length;
    canvas.width = rows[0].length;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    rows.flat().forEach((value, index) => image.data.set(pixel(value), 4 * index));
    context.putImageData(image, 0, 0);
    return canvas;
  }

  /** A picture under whose border, which is cut off before the network, lies a veil of grey. */
  function veiled(image, crop) {
    const isCut = (at, length) => at < crop || at >= length - crop;
    const dimmed = (value) => 128 + 0.4 * (value - 128);
    return image.map((row, y) =>
      row.map((value, x) => (isCut(y, image.length) || isCut(x, row.length) ? dimmed(value) : value)));
  }

  /** A pixel of a signed map: orange above 0, blue below, clear at 0. The root lets small values be seen. */
  function signed(scale) {
    const { positive, negative } = colours();
    return (value) => [...(value > 0 ? positive : negative), 255 * Math.min(1, Math.abs(value) / scale) ** 0.55];
  }

  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

  /**
   * Turn a gradient by grey level into one by ink. Where pictures are light, as the drawing is, more ink is less light.
   * Return it with the values on ink alone, by which it is scaled and described.
   */
  function byInk(answer, page) {
    const [sign, level] = page === "dark" ? [1, (value) => value] : [-1, (value) => 255 - value];
    const gradient = answer.explanation.saliency.map((row) => row.map((value) => sign * value));
    const ink = answer.image.flat().map(level);
    return { gradient, onInk: gradient.flat().filter((_, index) => ink[index] > FAINT) };
  }

  /** Where a point of the small picture is in the drawing, in pixels. */
  const placed = ([[a, b, c], [d, e, f]], x, y) => [a * x + b * y + c, d * x + e * y + f];

  /**
   * Look at the drawing as the network does: the same middle and size, so that both pictures lie side by side, but
   * upright, and with all strokes inside. Return what takes a pixel of the drawing to [scale, left, top].
   */
  function view(strokes, { placement, image }, side) {
    const [[a, b], [d, e]] = placement;
    const [x, y] = placed(placement, image[0].length / 2, image.length / 2);
    const reach = strokes.flat().map((point) => Math.max(Math.abs(point[0] * SIDE - x), Math.abs(point[1] * SIDE - y)));
    const shown = Math.sqrt(Math.abs(a * e - b * d)) * Math.max(image.length, image[0].length);
    const scale = side / Math.max(shown, 2.1 * Math.max(...reach) + PEN * SIDE);
    return [scale, side / 2 - scale * x, side / 2 - scale * y];
  }

  /** Colour strokes by the gradient of the answer; return how much of it speaks for the answer. */
  function showSaliency(canvas, strokes, answer, page) {
    const side = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const [scale, left, top] = view(strokes, answer, side);
    context.setTransform(scale, 0, 0, scale, left, top);
    context.fillStyle = context.strokeStyle = getComputedStyle(canvas).color;
    trace(context, strokes, SIDE);
    const { gradient, onInk } = byInk(answer, page);
    const map = paint(document.createElement("canvas"), gradient, signed(largest(onInk)));
    const [[a, b, c], [d, e, f]] = answer.placement; // takes pixels of the map to those of the drawing
    context.globalCompositeOperation = "source-atop"; // on the strokes alone
    context.imageSmoothingQuality = "high";
    context.transform(a, d, b, e, c, f);
    context.drawImage(map, 0, 0);
    return shareFor(onInk);
  }

  /** How much of the gradient on ink is positive, from 0 to 1. */
  function shareFor(values) {
    const total = values.reduce((sum, value) => sum + Math.abs(value), 0);
    return total ? values.reduce((sum, value) => sum + Math.max(0, value), 0) / total : 0;
  }

  /** Paint the units of the first layer, all on one scale. */
  function showUnits(box, units) {
    const pixel = signed(largest(units.flatMap((unit) => unit.map.flat())));
    box.replaceChildren(...units.map((unit) => {
      const canvas = paint(document.createElement("canvas"), unit.map, pixel);
      canvas.title = `unit ${unit.unit}: ${unit.value.toPrecision(2)}`;
      return canvas;
    }));
  }

  // What the maps of a first layer mean, by its kind: the outputs of a convolution, or what each pixel adds to a unit.
  const KINDS = {
    Conv2d: (count) => `Where each of ${count} units finds what it looks for (orange), or its opposite (blue).`,
    Linear: (count) => `What each square adds to (orange) or takes from (blue) the ${count} strongest units.`,
  };

  /** The three pictures, with their descriptions. */
  class Inside {
    #box;

    constructor(box) {
      this.#box = box;
    }

    /** Show an answer to a drawing; `page` is what the model's pictures lie on, "dark" or "light". */
    show(answer, strokes, { page, crop }) {
      const [height, width] = [answer.image.length, answer.image[0].length];
      paint(this.#find("#picture"), veiled(answer.image, crop), (value) => [value, value, value, 255]);
      const inner = crop ? `, of which it sees the ${width - 2 * crop} by ${height - 2 * crop} inside` : "";
      this.#label("#picture", `The picture that the network is shown: ${width} by ${height} squares${inner}`);
      this.#box.classList.toggle("unexplained", !answer.explanation);
      if (!answer.explanation) return;
      this.#name(answer.class);
      const share = showSaliency(this.#find("#saliency"), strokes, answer, page);
      const text = `${percent(share)} speaks for ${answer.class}, the rest against`;
      this.#label("#saliency", `Your strokes, coloured: ${text}`);
      this.#showLayer(answer.explanation.first_layer);
    }

    #showLayer(layer) {
      const units = layer?.units ?? [];
      showUnits(this.#find("#units"), units);
      this.#find("#first").classList.toggle("none", !units.length);
      if (!units.length) {
        this.#find("#layer").textContent = "The first layer of this network has no pictures.";
        return;
      }
      const strongest = units.reduce((most, unit) => (unit.value > most.value ? unit : most));
      this.#find("#layer").textContent = (KINDS[layer.kind] ?? KINDS.Conv2d)(units.length);
      const text = `${layer.kind}: ${units.length} units, unit ${strongest.unit} the strongest`;
      this.#label("#units", `The first layer, ${text}`);
    }

    /** Show nothing. */
    rest() {
      for (const id of ["#picture", "#saliency"]) this.#find(id).width = this.#find(id).height = 1;
      this.#find("#units").replaceChildren();
      this.#label("#picture", "The picture that the network is shown: empty");
      this.#label("#saliency", "Your strokes, coloured: empty");
      this.#label("#units", "The first layer: empty");
      this.#name("it");
    }

    #find(selector) { return this.#box.querySelector(selector); }
    #label(selector, text) { this.#find(selector).setAttribute("aria-label", text); }

    /** Name the answer in the legend. */
    #name(text) {
      for (const one of this.#box.querySelectorAll("b.best")) one.textContent = text;
    }
  }

  globalThis.Inside = Inside;
}
