// The answer: its name in large, and a bar for each class.
"use strict";
{
  /** A share in words: the ends are not rounded to certainty. */
  const percent = (share) => (share > 0.995 && share < 1 ? "> 99 %" : `${Math.round(100 * share)} %`);

  const made = (tag, className, text = "") => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text; // names come from folders of a data set: they are text, never markup
    return element;
  };

  const LONGEST = 30; // signs of a name within a sentence

  /** A name within a sentence: not long, and what it does to the direction of writing ends with it. */
  const named = (name) => {
    const signs = [...name];
    return made("bdi", "", signs.length > LONGEST ? `${signs.slice(0, LONGEST - 1).join("")}…` : name);
  };

  /** The bars, in the order of the classes. They have their places from the beginning, so nothing jumps. */
  class Bars {
    #rows;

    constructor(list, classes) {
      const isShort = classes.every((name) => [...name].length <= 2);
      list.classList.toggle("short", isShort);
      list.classList.toggle("upright", isShort && classes.length <= 12); // where the screen is narrow
      list.classList.toggle("many", classes.length > 14);
      this.#rows = classes.map((name) => {
        const row = { item: document.createElement("li"), fill: made("span", "fill"), value: made("span", "value") };
        const track = made("span", "track");
        track.append(row.fill);
        row.item.title = name; // the row may have no room for all of it
        row.item.append(made("span", "name", name), " ", track, row.value);
        return row;
      });
      list.replaceChildren(...this.#rows.map((row) => row.item));
      this.rest();
    }

    show(probabilities, best) {
      for (const [index, { item, fill, value }] of this.#rows.entries()) {
        fill.style.setProperty("--share", probabilities[index]);
        value.textContent = percent(probabilities[index]);
        item.classList.toggle("best", index === best);
      }
    }

    rest() {
      for (const { item, fill, value } of this.#rows) {
        fill.style.setProperty("--share", 0);
        value.textContent = "–";
        item.classList.remove("best");
      }
    }
  }

  /** An answer as mark and sentence, the latter in parts. One that is not sure names the two likeliest. */
  function inWords(answer, classes) {
    if (answer.sure) return { mark: answer.class, words: [`${percent(answer.probability)} sure`] };
    const order = [...answer.probabilities.keys()].sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
    const parts = (index) => [named(classes[index]), ` (${percent(answer.probabilities[index])})`];
    const [first, ...second] = order.slice(0, 2).map(parts);
    return { mark: "?", words: ["Not sure. Perhaps ", ...first, ...second.flatMap((next) => [" or ", ...next])] };
  }

  globalThis.answers = Object.freeze({ Bars, inWords, percent, made, named });
}
