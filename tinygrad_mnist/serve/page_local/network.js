"use strict";
/* A trained network in the browser: the forward pass of one picture, and the gradient of a score by that picture.

The layers are data (model.js): Python writes for each its kind, its options, the shapes before and after it, and
where its weights lie. LAYERS below has the forward pass and the gradient of each kind. Values between layers are
rounded to float32, as Python's are, so that numbers that are equal there are equal here too: where several numbers of
a window are the largest, they share the gradient. Sums are taken in float64.

Images are (channels, rows, columns) in one row of numbers, as NumPy flattens them. */
{
  // ---- windows: what convolutions and pools have in common ----------------------------------------------------------

  /** Return the number of pixels of one channel. */
  const area = (shape) => shape[1] * shape[2];

  /** Return for each element of each window, window after window, the pixel of a channel that it lies on; -1 for one in
   * the padding, which counts in no sum and no maximum. */
  function pixelsOfWindows({ input, output, kernel, stride, padding, dilation }) {
    const pixels = new Int32Array(area(output) * kernel[0] * kernel[1]);
    let at = 0;
    for (let window = 0; window < area(output); window += 1) {
      const top = Math.floor(window / output[2]) * stride[0] - padding[0];
      const left = (window % output[2]) * stride[1] - padding[1];
      for (let i = 0; i < kernel[0] * kernel[1]; i += 1, at += 1) {
        const y = top + Math.floor(i / kernel[1]) * dilation[0];
        const x = left + (i % kernel[1]) * dilation[1];
        pixels[at] = y >= 0 && y < input[1] && x >= 0 && x < input[2] ? y * input[2] + x : -1;
      }
    }
    return pixels;
  }

  /** Return a layer's kernel size and the pixels of its windows. */
  const windowsOf = (layer) => ({ elements: layer.kernel[0] * layer.kernel[1], pixels: pixelsOfWindows(layer) });

  // ---- convolution --------------------------------------------------------------------------------------------------

  /** Call `visit(window, first input channel, first output channel)` for each window of each group of channels. */
  function eachWindow(layer, visit) {
    for (let group = 0; group < layer.groups; group += 1) {
      const [from, to] = [layer.input[0], layer.output[0]].map((channels) => (group * channels) / layer.groups);
      for (let window = 0; window < area(layer.output); window += 1) visit(window, from, to);
    }
  }

  /** Return the weighted sum over a window of all channels of the group, for each output channel. */
  function convolve(layer, x) {
    const { elements, pixels, weight, bias } = layer;
    const [size, plane, units] = [area(layer.output), area(layer.input), layer.output[0] / layer.groups];
    const out = new Float32Array(layer.output[0] * size);
    const patch = new Float64Array((layer.input[0] / layer.groups) * elements);
    eachWindow(layer, (window, from, to) => {
      for (let i = 0; i < patch.length; i += 1) {
        const pixel = pixels[window * elements + (i % elements)];
        patch[i] = pixel < 0 ? 0 : x[(from + Math.floor(i / elements)) * plane + pixel];
      }
      for (let unit = to; unit < to + units; unit += 1) {
        let sum = bias ? bias[unit] : 0;
        for (let i = 0, at = unit * patch.length; i < patch.length; i += 1, at += 1) sum += weight[at] * patch[i];
        out[unit * size + window] = sum;
      }
    });
    return out;
  }

  /** Return the gradient by the images: each window gives its gradient back to its pixels, by the same weights. */
  function convolveBack(layer, x, out, g) {
    const { elements, pixels, weight } = layer;
    const [size, plane, units] = [area(layer.output), area(layer.input), layer.output[0] / layer.groups];
    const back = new Float64Array(x.length);
    const patch = new Float64Array((layer.input[0] / layer.groups) * elements);
    eachWindow(layer, (window, from, to) => {
      patch.fill(0);
      for (let unit = to; unit < to + units; unit += 1) {
        const share = g[unit * size + window];
        if (share === 0) continue; // as behind a pool, for most windows
        for (let i = 0, at = unit * patch.length; i < patch.length; i += 1, at += 1) patch[i] += share * weight[at];
      }
      for (let i = 0; i < patch.length; i += 1) {
        const pixel = pixels[window * elements + (i % elements)];
        if (pixel >= 0) back[(from + Math.floor(i / elements)) * plane + pixel] += patch[i];
      }
    });
    return back;
  }

  // ---- pools --------------------------------------------------------------------------------------------------------

  /** Call `visit(output index, input index)` for every pixel of every window of every channel. */
  function eachPixel({ input, output, elements, pixels }, visit) {
    for (let at = 0; at < output[0] * area(output); at += 1) {
      const [channel, window] = [Math.floor(at / area(output)), at % area(output)];
      for (let i = window * elements; i < (window + 1) * elements; i += 1) {
        if (pixels[i] >= 0) visit(at, channel * area(input) + pixels[i]);
      }
    }
  }

  /** Return the largest number of each window. */
  function maxPool(layer, x) {
    const out = new Float32Array(layer.output[0] * area(layer.output)).fill(-Infinity);
    eachPixel(layer, (at, from) => {
      if (x[from] > out[at]) out[at] = x[from];
    });
    return out;
  }

  /** Return the gradient by the images: where several numbers of a window are the largest, they share it evenly. */
  function maxPoolBack(layer, x, out, g) {
    const largest = new Int32Array(out.length);
    eachPixel(layer, (at, from) => {
      if (x[from] === out[at]) largest[at] += 1;
    });
    const back = new Float64Array(x.length);
    eachPixel(layer, (at, from) => {
      if (x[from] === out[at]) back[from] += g[at] / largest[at];
    });
    return back;
  }

  /** Return what the sum of each window is divided by: how many of its elements count, padding as `counted` says. */
  function divisorsOf({ input, output, kernel, stride, padding, counted, divisor }) {
    const counts = [0, 1].map((axis) =>
      Array.from({ length: output[axis + 1] }, (_, i) => {
        const first = i * stride[axis] - padding[axis];
        const end = Math.min(first + kernel[axis], input[axis + 1] + counted[axis][1]);
        return end - Math.max(first, -counted[axis][0]);
      }),
    );
    return counts[0].flatMap((down) => counts[1].map((across) => divisor ?? down * across));
  }

  /** Return the mean of each window. */
  function avgPool(layer, x) {
    const sums = new Float64Array(layer.output[0] * area(layer.output));
    eachPixel(layer, (at, from) => {
      sums[at] += x[from];
    });
    return Float32Array.from(sums, (sum, at) => sum / layer.divisors[at % layer.divisors.length]);
  }

  /** Return the gradient by the images: each window's in even shares over its pixels. */
  function avgPoolBack(layer, x, out, g) {
    const back = new Float64Array(x.length);
    eachPixel(layer, (at, from) => {
      back[from] += g[at] / layer.divisors[at % layer.divisors.length];
    });
    return back;
  }

  // ---- linear layers ------------------------------------------------------------------------------------------------

  /** Return `weight @ x + bias`, for a weight of shape (units, features). */
  function linear({ weight, bias, output }, x) {
    return Float32Array.from({ length: output[0] }, (_, unit) => {
      let sum = bias ? bias[unit] : 0;
      for (let i = 0, at = unit * x.length; i < x.length; i += 1, at += 1) sum += weight[at] * x[i];
      return sum;
    });
  }

  /** Return the gradient by the features, `g @ weight`. */
  function linearBack({ weight }, x, out, g) {
    const back = new Float64Array(x.length);
    for (let unit = 0; unit < g.length; unit += 1) {
      for (let i = 0, at = unit * x.length; i < x.length; i += 1, at += 1) back[i] += g[unit] * weight[at];
    }
    return back;
  }

  // ---- norms --------------------------------------------------------------------------------------------------------

  /** Return what a number is multiplied by after it was normalised. Each `run` numbers in turn have one weight. */
  const scaleAt = ({ weight, run }, at) => (weight ? weight[Math.floor(at / run) % weight.length] : 1);

  /** Return what is added to a number after it was normalised. */
  const shiftAt = ({ bias, run }, at) => (bias ? bias[Math.floor(at / run) % bias.length] : 0);

  /** Return batch norm by the running statistics, as in evaluation: each channel is scaled and shifted. */
  function batchNorm(layer, x) {
    const { running_mean: mean, running_var: variance, eps, run } = layer;
    return Float32Array.from(x, (value, at) => {
      const channel = Math.floor(at / run);
      const normalised = (value - mean[channel]) / Math.sqrt(variance[channel] + eps);
      return normalised * scaleAt(layer, at) + shiftAt(layer, at);
    });
  }

  /** Return the gradient by what batch norm was given. */
  function batchNormBack(layer, x, out, g) {
    const { running_var: variance, eps, run } = layer;
    return g.map((value, at) => (value * scaleAt(layer, at)) / Math.sqrt(variance[Math.floor(at / run)] + eps));
  }

  /** Return the mean (0 where the norm does not centre) and 1 / deviation of the numbers from `start` to `end`. */
  function statistics({ centred, eps }, x, start, end) {
    let mean = 0;
    if (centred) for (let at = start; at < end; at += 1) mean += x[at] / (end - start);
    let square = 0;
    for (let at = start; at < end; at += 1) square += (x[at] - mean) ** 2 / (end - start);
    return [mean, 1 / Math.sqrt(square + eps)];
  }

  /** Return each `length` numbers in turn with mean 0 and variance 1 (or mean square 1), scaled and shifted. */
  function norm(layer, x) {
    const out = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += layer.length) {
      const [mean, inverse] = statistics(layer, x, start, start + layer.length);
      for (let at = start; at < start + layer.length; at += 1) {
        out[at] = (x[at] - mean) * inverse * scaleAt(layer, at) + shiftAt(layer, at);
      }
    }
    return out;
  }

  /** Return the gradient by what a norm was given: what moves the mean or the deviation is taken off. */
  function normBack(layer, x, out, g) {
    const { length, centred } = layer;
    const back = new Float64Array(x.length);
    for (let start = 0; start < x.length; start += length) {
      const [mean, inverse] = statistics(layer, x, start, start + length);
      let [level, along] = [0, 0];
      for (let at = start; at < start + length; at += 1) {
        const scaled = g[at] * scaleAt(layer, at);
        level += centred ? scaled / length : 0;
        along += (scaled * (x[at] - mean) * inverse) / length;
      }
      for (let at = start; at < start + length; at += 1) {
        back[at] = inverse * (g[at] * scaleAt(layer, at) - level - (x[at] - mean) * inverse * along);
      }
    }
    return back;
  }

  // ---- activations --------------------------------------------------------------------------------------------------

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const density = (x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

  /** Return the distribution function of the normal distribution, by the series of G. Marsaglia, "Evaluating the normal
   * distribution", Journal of Statistical Software 11 (2004), which is as accurate as float64 inside of it. */
  function normal(x) {
    if (Math.abs(x) > 8) return x > 0 ? 1 : 0;
    let [term, sum, before] = [x, x, 0];
    for (let i = 3; sum !== before; i += 2) {
      term *= (x * x) / i;
      before = sum;
      sum += term;
    }
    return 0.5 + sum * density(x);
  }

  const GELU_SCALE = Math.sqrt(8 / Math.PI);
  const geluInside = (x) => GELU_SCALE * x * (1 + 0.044715 * x * x);

  /** The activations: the value at x, and the slope there. Corners have the slope that Python's rules give them. */
  const ACTIVATIONS = {
    relu: [(x) => Math.max(x, 0), (x) => (x > 0 ? 1 : 0)],
    "leaky-relu": [(x, { slope }) => (x > 0 ? x : slope * x), (x, { slope }) => (x > 0 ? 1 : slope)],
    elu: [(x, { alpha }) => (x > 0 ? x : alpha * Math.expm1(x)), (x, { alpha }) => (x > 0 ? 1 : alpha * Math.exp(x))],
    silu: [(x) => x * sigmoid(x), (x) => sigmoid(x) * (1 + x * sigmoid(-x))],
    gelu: [(x) => x * normal(x), (x) => normal(x) + x * density(x)],
    "gelu-tanh": [
      (x) => x * sigmoid(geluInside(x)),
      (x) => {
        const rise = GELU_SCALE * (1 + 3 * 0.044715 * x * x);
        return sigmoid(geluInside(x)) * (1 + x * rise * sigmoid(-geluInside(x)));
      },
    ],
    tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
    sigmoid: [sigmoid, (x) => sigmoid(x) * sigmoid(-x)],
    softplus: [
      (x, { beta, threshold }) => (beta * x > threshold ? x : Math.log1p(Math.exp(beta * x)) / beta),
      (x, { beta, threshold }) => (beta * x > threshold ? 1 : sigmoid(beta * x)),
    ],
    hardtanh: [
      (x, { least, most }) => Math.min(Math.max(x, least), most),
      (x, { least, most }) => (x > least && x < most ? 1 : 0),
    ],
  };

  /** Return each number through the activation. */
  const activate = (layer, x) => x.map((value) => ACTIVATIONS[layer.name][0](value, layer));

  /** Return the gradient by what the activation was given. */
  const activateBack = (layer, x, out, g) => g.map((value, at) => value * ACTIVATIONS[layer.name][1](x[at], layer));

  // ---- the network --------------------------------------------------------------------------------------------------

  /** The kinds of layers: what is prepared once, the forward pass, and the gradient by the input. */
  const LAYERS = {
    conv2d: { prepare: windowsOf, forward: convolve, back: convolveBack },
    "max-pool": { prepare: windowsOf, forward: maxPool, back: maxPoolBack },
    "avg-pool": {
      prepare: (layer) => ({ ...windowsOf(layer), divisors: divisorsOf(layer) }),
      forward: avgPool,
      back: avgPoolBack,
    },
    linear: { forward: linear, back: linearBack },
    "batch-norm": { forward: batchNorm, back: batchNormBack },
    norm: { forward: norm, back: normBack },
    activation: { forward: activate, back: activateBack },
  };

  /** Return numbers from base64 of float32, little-endian whatever the machine is. */
  function decoded(text) {
    const signs = atob(text);
    const view = new DataView(new ArrayBuffer(signs.length));
    for (let i = 0; i < signs.length; i += 1) view.setUint8(i, signs.charCodeAt(i));
    const numbers = new Float32Array(signs.length / 4);
    for (let i = 0; i < numbers.length; i += 1) numbers[i] = view.getFloat32(4 * i, true);
    return numbers;
  }

  /** Return a layer with its weights, which are places [start, end] in all numbers, and with what is prepared once. */
  function withWeights(layer, numbers) {
    const arrays = Object.entries(layer.arrays).map(([name, place]) => [name, numbers.subarray(...place)]);
    const whole = { ...layer, ...Object.fromEntries(arrays) };
    return { ...whole, ...LAYERS[layer.kind].prepare?.(whole) };
  }

  /** Return the probabilities of scores. The largest is taken off first, so that nothing overflows. */
  function softmax(scores) {
    const largest = Math.max(...scores);
    const powers = Array.from(scores, (score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  /** Return rows of numbers as an array of rows. */
  function asRows(numbers, [height, width]) {
    return Array.from({ length: height }, (_, row) => Array.from(numbers.subarray(row * width, (row + 1) * width)));
  }

  /** Build the network of model.js.
   *
   * `forward(image)` takes the grey levels of a picture (height times width numbers) and returns what every layer made
   * of it. That goes into `saliency` and `firstLayer`. */
  function build(model) {
    const numbers = decoded(model.weights);
    const layers = model.layers.map((layer) => withWeights(layer, numbers));
    const [height, width] = model.image_shape;
    const { crop } = model;
    const inner = [height - 2 * crop, width - 2 * crop];

    /** Return the picture without its border, standardised in float32 as Python does it. */
    function standardised(image) {
      return Float32Array.from({ length: inner[0] * inner[1] }, (_, i) => {
        const at = (Math.floor(i / inner[1]) + crop) * width + (i % inner[1]) + crop;
        return Math.fround(image[at] * model.scale) + model.shift;
      });
    }

    /** Return numbers of the inner pixels as rows of a whole picture, with 0 where the model crops. */
    function framed(values) {
      const whole = new Float64Array(height * width);
      for (let row = 0; row < inner[0]; row += 1) {
        whole.set(values.subarray(row * inner[1], (row + 1) * inner[1]), (row + crop) * width + crop);
      }
      return asRows(whole, model.image_shape);
    }

    /** Return the numbers before the first layer and after each, and the probabilities of the classes. */
    function forward(image) {
      const values = [standardised(image)];
      for (const layer of layers) values.push(LAYERS[layer.kind].forward(layer, values.at(-1)));
      return { values, probabilities: softmax(values.at(-1)) };
    }

    /** Return the gradient of a vector of the last layer's numbers, weighted by `g`, by the standardised picture. */
    function gradient({ values }, g) {
      return layers.reduceRight(
        (back, layer, i) => LAYERS[layer.kind].back(layer, values[i], values[i + 1], back),
        Float64Array.from(g),
      );
    }

    /** Return the gradient of the score of a class by the standardised picture, as rows of a whole picture. */
    function saliency(found, index) {
      return framed(gradient(found, Array.from(found.values.at(-1), (_, i) => (i === index ? 1 : 0))));
    }

    return Object.freeze({ layers, first: model.first_layer, forward, gradient, saliency });
  }

  globalThis.network = Object.freeze({ build, asRows });
}
