"use strict";
/* A drawing, made to look like the pictures that the model was trained on: `prepare_digit` and `scale_whole` of
tinygrad_mnist/data/prepare.py, in the same steps and with the same numbers, so that both make the same grey levels.

A drawing from the page lies on white paper with an empty margin. Python finds level and light of the paper by that
margin; here it is white, 255, and a drawing whose margin is not empty is refused.

A picture of ink is {height, width, values}: `values` has 0 on the paper, row by row. A placement is the matrix
[[a, b, c], [d, e, f]] that takes a point of what was made to the point of what was given. */
{
  const WORKING_SIDE = 2048; // Python averages larger pictures down; the page draws none
  const LEAST_CONTRAST = 8; // grey levels between paper and ink; a drawing with less is blank
  const FAINT = 0.1; // of the strongest ink; fainter pixels do not widen the digit's box
  const FINE = 8; // strokes are measured and thickened on a grid that is this much finer than the result

  // ---- rounding, as NumPy does it -----------------------------------------------------------------------------------

  /** Return the nearest whole number; of two, the even one, where Math.round takes the larger. */
  function rint(x) {
    const rounded = Math.round(x);
    return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  }

  /** Return a number without its rounding errors: sums in another order have others, which must not decide. */
  const settled = (x) => rint(x * 1e9) / 1e9;

  /** Return numbers in 0..255 as whole grey levels. */
  const asLevels = (values) => Uint8Array.from(values, (value) => rint(settled(value)));

  // ---- placements ---------------------------------------------------------------------------------------------------

  /** Return the placement [[x, lean, right], [0, y, down]]. */
  const affine = ({ x = 1, y = 1, lean = 0, right = 0, down = 0 } = {}) => [
    [x, lean, right],
    [0, y, down],
  ];

  /** Return the placement of two steps: `second` was made of the result of `first`. */
  function after(second, first) {
    return first.map(([a, b, c]) =>
      [0, 1, 2].map((column) => a * second[0][column] + b * second[1][column] + (column === 2 ? c : 0)),
    );
  }

  // ---- pictures of ink ----------------------------------------------------------------------------------------------

  /** Return a picture without ink. */
  const empty = (height, width) => ({ height, width, values: new Float64Array(height * width) });

  /** Return the largest number, at least 0; spreading a whole picture into Math.max would overflow the stack. */
  function largest(values) {
    let most = 0;
    for (const value of values) if (value > most) most = value;
    return most;
  }

  /** Return the sum. */
  const total = (values) => values.reduce((a, b) => a + b, 0);

  /** Call `visit(value, row, column)` for each pixel with ink. */
  function eachInked({ height, width, values }, visit) {
    for (let row = 0, at = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1, at += 1) if (values[at] !== 0) visit(values[at], row, column);
    }
  }

  /** Return a picture of a size with another one in it; what lies outside is cut off. */
  function pasted(ink, height, width, above, left) {
    const whole = empty(height, width);
    eachInked(ink, (value, row, column) => {
      const [y, x] = [row + above, column + left];
      if (y >= 0 && y < height && x >= 0 && x < width) whole.values[y * width + x] = value;
    });
    return whole;
  }

  /** Return the smallest rectangle around all ink above a level, by default what is not faint. */
  function boxOf(ink, least = FAINT * largest(ink.values)) {
    const box = { top: ink.height, bottom: 0, left: ink.width, right: 0 };
    eachInked(ink, (value, row, column) => {
      if (value <= least) return;
      box.top = Math.min(box.top, row);
      box.bottom = Math.max(box.bottom, row + 1);
      box.left = Math.min(box.left, column);
      box.right = Math.max(box.right, column + 1);
    });
    return box;
  }

  /** Return a picture cut to the box of its ink, and the placement of that. */
  function cut(ink) {
    const { top, bottom, left, right } = boxOf(ink);
    return [pasted(ink, bottom - top, right - left, -top, -left), affine({ right: left, down: top })];
  }

  /** Return the centre of mass, in pixels from the top and from the left: (0.5, 0.5) for the first pixel. */
  function centreOf(ink) {
    let [down, across] = [0, 0];
    eachInked(ink, (value, row, column) => {
      down += value * (row + 0.5);
      across += value * (column + 0.5);
    });
    const mass = total(ink.values);
    return [settled(down / mass), settled(across / mass)];
  }

  /** Return ink in 0..1, the strongest tenth of it at 1: a pen's stroke is black except for its rims. */
  function saturated(ink) {
    const least = FAINT * largest(ink.values);
    const strong = ink.values.filter((value) => value > least).sort();
    const place = (strong.length - 1) * 0.9; // the quantile 0.9, between the two values beside it
    const [low, high, share] = [strong[Math.floor(place)], strong[Math.ceil(place)], place - Math.floor(place)];
    const level = share >= 0.5 ? high - (high - low) * (1 - share) : low + (high - low) * share;
    return { ...ink, values: ink.values.map((value) => Math.min(value / level, 1)) };
  }

  // ---- scaling ------------------------------------------------------------------------------------------------------

  /** Return for each of `after` pixels along an axis the first of the pixels that it is made of, and their weights, whose
   * sum is 1: by areas to shrink, linearly to enlarge. */
  function resampling(before, after) {
    return Array.from({ length: after }, (_, i) => {
      const [start, end] = [i * (before / after), (i + 1) * (before / after)];
      const centre = Math.min(Math.max((i + 0.5) * (before / after) - 0.5, 0), before - 1);
      const first = after <= before ? Math.floor(start) : Math.floor(centre);
      const last = Math.min(after <= before ? Math.ceil(end) : first + 2, before);
      const weights = Array.from({ length: last - first }, (__, k) => {
        const at = first + k;
        const share = after <= before ? Math.min(end, at + 1) - Math.max(start, at) : 1 - Math.abs(centre - at);
        return Math.max(share, 0);
      });
      const sum = total(weights);
      return { first, weights: weights.map((weight) => weight / sum) };
    });
  }

  /** Return a picture of another size. */
  function resampled(ink, height, width) {
    const narrow = empty(height, ink.width);
    resampling(ink.height, height).forEach(({ first, weights }, row) => {
      weights.forEach((weight, k) => {
        const from = (first + k) * ink.width;
        for (let x = 0; x < ink.width; x += 1) narrow.values[row * ink.width + x] += weight * ink.values[from + x];
      });
    });
    const made = empty(height, width);
    const columns = resampling(ink.width, width);
    for (let row = 0; row < height; row += 1) {
      columns.forEach(({ first, weights }, column) => {
        const from = row * ink.width + first;
        made.values[row * width + column] = weights.reduce((sum, w, k) => sum + w * narrow.values[from + k], 0);
      });
    }
    return made;
  }

  /** Return a digit scaled to fit a box; one side may be drawn out up to `stretch` times the other. */
  function scaled(ink, height, width, stretch = 1) {
    const factors = [height / ink.height, width / ink.width];
    const least = Math.min(...factors);
    const [rows, columns] = [ink.height, ink.width].map((side, axis) =>
      Math.max(1, rint(side * Math.min(factors[axis], least * stretch))),
    );
    return [resampled(ink, rows, columns), affine({ x: ink.width / columns, y: ink.height / rows })];
  }

  // ---- strokes ------------------------------------------------------------------------------------------------------

  /** Return the mean width of strokes: twice the area divided by the perimeter, which is the total variation. */
  function strokeWidth({ height, width, values }) {
    let perimeter = 0;
    for (let y = 0; y + 1 < height; y += 1) {
      for (let x = 0, at = y * width; x + 1 < width; x += 1, at += 1) {
        perimeter += Math.hypot(values[at + width] - values[at], values[at + 1] - values[at]);
      }
    }
    return 2 * (total(values) / perimeter);
  }

  /** Return the largest ink within `radius` pixels of each pixel; as wide a margin must be without ink. */
  function dilated(ink, radius) {
    const reach = Math.ceil(radius);
    const thick = { ...ink, values: ink.values.slice() };
    const disc = [];
    for (let y = -reach; y <= reach; y += 1) {
      for (let x = -reach; x <= reach; x += 1) {
        if (x * x + y * y <= radius * radius) disc.push(y * ink.width + x);
      }
    }
    ink.values.forEach((value, at) => {
      if (value === 0) return; // thin strokes leave most of the picture empty
      for (const offset of disc) if (value > thick.values[at + offset]) thick.values[at + offset] = value;
    });
    return thick;
  }

  /** Return a digit whose strokes are `pen` pixels wide at least, cut to its new box. */
  function thickened(digit, pen) {
    const strong = saturated(digit);
    const bordered = pasted(strong, strong.height + 2, strong.width + 2, 1, 1);
    const radius = (pen - strokeWidth(bordered)) / 2;
    const margin = 1 + (radius >= 0.5 ? Math.ceil(radius) : 0);
    const framed = pasted(strong, strong.height + 2 * margin, strong.width + 2 * margin, margin, margin);
    const [thick, place] = cut(radius >= 0.5 ? dilated(framed, radius) : framed);
    return [thick, after(place, affine({ right: -margin, down: -margin }))];
  }

  /** Return a digit set upright: its rows are moved by whole pixels until its mixed second moment is 0. */
  function upright(ink) {
    const [middle, across] = centreOf(ink);
    let [mixed, vertical] = [0, 0];
    eachInked(ink, (value, row, column) => {
      const y = row + 0.5 - middle;
      mixed += value * y * (column + 0.5 - across);
      vertical += value * y * y;
    });
    const lean = Math.min(Math.max(mixed / Math.max(vertical, 1e-12), -1), 1);
    const shifts = Array.from({ length: ink.height }, (_, row) => rint(lean * (row + 0.5 - middle)));
    const reach = Math.max(...shifts.map(Math.abs));
    const straight = empty(ink.height, ink.width + 2 * reach);
    eachInked(ink, (value, row, column) => {
      straight.values[row * straight.width + column - shifts[row] + reach] = value;
    });
    return [straight, affine({ lean, right: -lean * middle - reach })];
  }

  // ---- the ways to prepare ------------------------------------------------------------------------------------------

  /** Return what steps make of a picture one after the other, and the placement of all together. */
  function inSteps(ink, steps, placement = affine()) {
    return steps.reduce(
      ([made, placed], step) => {
        const [next, place] = step(made);
        return [next, after(place, placed)];
      },
      [ink, placement],
    );
  }

  /** Return the ink scaled until its longer side is `box`, its centre of mass in the middle of a square (LeCun, Bottou,
   * Bengio and Haffner, 1998, section III.A). */
  function asMnist(ink, size, box) {
    const fitting = ({ height, width }) => Math.max(height, width) >= box - 1 && Math.max(height, width) <= box;
    const fine = box * FINE;
    let [digit, placement] = cut(ink);
    if (!fitting(digit)) { // ink that fits to a pixel is only moved, so it stays sharp
      const steps = [
        (made) => scaled(made, fine, fine),
        (made) => thickened(made, 0.13 * fine),
        (made) => scaled(made, box, box),
      ];
      [digit, placement] = inSteps(digit, steps, placement);
    }
    const sides = [digit.height, digit.width];
    const [above, left] = centreOf(digit).map((centre, axis) =>
      Math.min(Math.max(Math.floor(size / 2) - Math.floor(centre), 0), size - sides[axis]),
    );
    return [pasted(saturated(digit), size, size, above, left), after(affine({ right: -left, down: -above }), placement)];
  }

  /** Return the ink set upright, drawn out to the full height and 5/8 of the width of a square of side 8 (Alpaydin and
   * Kaynak, 1998). */
  function asUci(ink) {
    const side = 8 * FINE;
    const width = (side * 20) / 32;
    const strong = saturated(ink);
    const bitmap = { ...strong, values: strong.values.map((value) => (value > 0.5 ? 1 : 0)) };
    const [digit, placement] = inSteps(bitmap, [
      cut,
      (made) => scaled(made, side, side),
      upright,
      cut,
      (made) => scaled(made, side, width, 1.5),
      (made) => thickened(made, (5 / 32) * side),
      (made) => scaled(made, side, width, 1.5),
    ]);
    const [above, left] = [digit.height, digit.width].map((length) => Math.floor((side - length) / 2));
    const blocks = resampled(pasted(digit, side, side, above, left), 8, 8);
    const most = largest(blocks.values);
    const placed = { ...blocks, values: blocks.values.map((value) => value / most) };
    return [placed, after(affine({ x: FINE, y: FINE, right: -left, down: -above }), placement)];
  }

  /** Return whether the ink of a square picture has its size and place already. */
  function isPlaced(ink, box) {
    const { top, bottom, left, right } = boxOf(ink);
    const longer = Math.max(bottom - top, right - left);
    const [low, high] = box === ink.height ? [-1.25, 1.25] : [-0.05, 1.05];
    const central = centreOf(ink).every((centre) => centre - ink.height / 2 >= low && centre - ink.height / 2 <= high);
    return longer >= box - 1 && longer <= box && central;
  }

  /** Return a digit of side `size`, light on dark, as the training digits are. */
  function digitOf(ink, size) {
    const box = size === 8 ? 8 : Math.max(1, rint(size * (20 / 28)));
    if (ink.height === size && ink.width === size && isPlaced(ink, box)) {
      const most = largest(ink.values);
      return [{ ...ink, values: ink.values.map((value) => value / most) }, affine()];
    }
    return size === 8 ? asUci(ink) : asMnist(ink, size, box);
  }

  // ---- the drawing --------------------------------------------------------------------------------------------------

  /** Return the ink of a drawing, how far each pixel is from white, or throw an error if it is none of the page: of
   * another size, or without an empty margin. */
  function inkOf({ height, width, values }) {
    const isWhole = [height, width].every((side) => Number.isInteger(side) && side >= 1 && side <= WORKING_SIDE);
    if (!isWhole || values.length !== height * width) {
      throw new Error(`a drawing of 1 to ${WORKING_SIDE} pixels a side was expected, not ${height} x ${width}`);
    }
    const ink = empty(height, width);
    for (let at = 0; at < values.length; at += 1) ink.values[at] = 255 - values[at];
    const { top, bottom, left, right } = boxOf(ink, 0);
    const margin = Math.max(1, Math.floor(Math.min(height, width) / 50));
    if (Math.min(top, left, height - bottom, width - right) < margin) {
      throw new Error("the drawing reaches the edge of its paper, where an empty margin was expected");
    }
    return ink;
  }

  /** Return a digit prepared as the training digits were, and its placement. */
  function prepareDigit(ink, { image_shape: [size], page }) {
    if (largest(ink.values) < LEAST_CONTRAST) {
      throw new Error("the picture is blank: it shows no digit that stands out from its background");
    }
    const [{ values }, placement] = digitOf(ink, size);
    const levels = asLevels(values.map((value) => 255 * value));
    return { image: page === "light" ? levels.map((level) => 255 - level) : levels, placement };
  }

  /** Return a drawing scaled as a whole, on the page that the model's pictures lie on, and its placement. */
  function scaleWhole(ink, { image_shape: [height, width], page }) {
    const onPage = page === "dark" ? ink : { ...ink, values: ink.values.map((value) => 255 - value) };
    return {
      image: asLevels(resampled(onPage, height, width).values),
      placement: affine({ x: ink.width / width, y: ink.height / height }),
    };
  }

  /** Return what the model is shown of a drawing, and its placement.
   *
   * `model` has image_shape, preparation ("mnist", "uci" or "whole") and page ("dark" or "light"), as model.js. */
  const prepare = (drawing, model) =>
    (model.preparation === "whole" ? scaleWhole : prepareDigit)(inkOf(drawing), model);

  globalThis.preparation = Object.freeze({ prepare });
}
