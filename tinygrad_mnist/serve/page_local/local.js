"use strict";
/* The recogniser of the page without a server: what the page asks of a service is computed here, in the browser.

There is no worker: a browser starts none for a page that was opened as a file, and one answer takes a few
milliseconds. */
{
  const { model, network, preparation } = globalThis;
  const description = model?.description;
  const MOST_UNITS = 24;
  let trained = null; // the network, from the first question on

  /** Return the network that computes; throw a sentence where a file of the folder is not whole. */
  function opened() {
    const broken = (file, cause) =>
      new Error(`the file ${file} is missing or incomplete; copy the whole folder`, { cause });
    const parts = { "model.js": model, "network.js": network, "preparation.js": preparation };
    const absent = Object.keys(parts).find((file) => !parts[file]);
    if (absent) throw broken(absent);
    try {
      return network.build(model.network);
    } catch (cause) {
      throw broken("model.js", cause);
    }
  }

  /** Return what a channel of a first convolution sees: its output, and the largest number of it. */
  function channelsOf(layer, out) {
    const [channels, height, width] = layer.output;
    return Array.from({ length: Math.min(channels, MOST_UNITS) }, (_, unit) => {
      const map = out.subarray(unit * height * width, (unit + 1) * height * width);
      return { unit, value: map.reduce((a, b) => Math.max(a, b)), map: network.asRows(map, [height, width]) };
    });
  }

  /** Return the units of largest output of a first linear layer, and what each pixel adds to it. */
  function mostActive(layer, picture, out) {
    const [height, width] = description.image_shape.map((side) => side - 2 * description.crop);
    const order = Array.from(out.keys()).sort((a, b) => out[b] - out[a]); // a stable sort: equal ones in their order
    return order.slice(0, MOST_UNITS).map((unit) => {
      const map = picture.map((value, i) => value * layer.weight[unit * picture.length + i]);
      return { unit, value: out[unit], map: network.asRows(map, [height, width]) };
    });
  }

  /** Return what the first layer's units see, or null where there is no picture of that. */
  function firstLayer({ values }) {
    if (trained.first === null) return null;
    const { index, module, kind } = trained.first;
    const [layer, given, out] = [trained.layers[index], values[index], values[index + 1]];
    return { module, kind, units: kind === "Conv2d" ? channelsOf(layer, out) : mostActive(layer, given, out) };
  }

  /** Return the answer to a drawing, as the service gives it, with the model that it is of. */
  function answer(drawing) {
    trained ??= opened();
    const { image, placement } = preparation.prepare(drawing, description);
    const found = trained.forward(image);
    const { probabilities } = found;
    if (!probabilities.every(Number.isFinite)) throw new Error("the weights of the model are too large to compute with");
    const probability = Math.max(...probabilities);
    const index = probabilities.indexOf(probability);
    return {
      class: description.classes[index],
      index,
      probability,
      sure: probability >= description.threshold,
      probabilities,
      image: network.asRows(image, description.image_shape),
      placement,
      model: { name: description.name, version: description.version },
      explanation: { saliency: trained.saliency(found, index), first_layer: firstLayer(found) },
    };
  }

  globalThis.recogniser = Object.freeze({
    /** Return what the page has to know of the model. */
    async describe() {
      trained ??= opened();
      return { ...description };
    },
    /** Return the answer to a drawing {width, height, values}, with its explanation. */
    recognise: async (drawing) => answer(drawing),
    /** Keep nothing, and say so: there is no server to keep it. */
    correct: async (drawing, name) => ({
      kept: false,
      message: `Thank you: it is \u2068${name}\u2069. Nothing is kept: this page has no server.`,
    }),
  });
}
