// Asking: while one draws, the newest drawing is asked about, seldom enough that the page stays smooth.
"use strict";
{
  const GAP = 60; // milliseconds between two questions
  const REST = 25; // and after an answer, so that a browser that computes it itself has time to draw
  const MOST = 2; // questions under way: one slow answer does not hold up the next
  const SLOW = 2000; // after so long without an answer it is said

  /**
   * Ask a recogniser about what `look()` returns, `{ink, ...}`, when it is ready for it.
   * `answered(answer, looked)`, `failed(error)` and `slow()` follow, where `answered` may throw what `failed` is told.
   * An answer older than one shown is dropped.
   */
  class Asking {
    #look;
    #heard;
    #asked = 0;
    #shown = 0;
    #underWay = new Set(); // what stops each question that has no answer yet
    #isWanted = false;
    #earliest = 0;
    #timer = 0;

    constructor(look, heard) {
      this.#look = look;
      this.#heard = heard;
    }

    /** Ask as soon as possible. */
    want() {
      this.#isWanted = true;
      this.#go();
    }

    /** Forget all questions, and the answers that are still to come: the next question need not wait for them. */
    drop() {
      this.#isWanted = false;
      for (const stop of this.#underWay) stop.abort();
      this.#underWay.clear();
      this.#shown = this.#asked;
      this.#earliest = 0;
    }

    #go() {
      clearTimeout(this.#timer);
      if (!this.#isWanted || this.#underWay.size >= MOST) return;
      const wait = this.#earliest - performance.now();
      if (wait > 0) this.#timer = setTimeout(() => this.#go(), wait);
      else this.#ask();
    }

    async #ask() {
      this.#isWanted = false;
      this.#asked += 1;
      const stop = new AbortController();
      this.#underWay.add(stop);
      this.#earliest = performance.now() + GAP;
      const number = this.#asked;
      const patience = setTimeout(() => number > this.#shown && this.#heard.slow(), SLOW);
      try {
        const looked = this.#look();
        const answer = await globalThis.recogniser.recognise(looked.ink, stop.signal);
        if (number > this.#shown) this.#heard.answered(answer, looked);
      } catch (error) {
        if (number > this.#shown) this.#fail(error);
      } finally {
        clearTimeout(patience);
        if (this.#underWay.delete(stop)) { // and it was not dropped
          this.#shown = Math.max(this.#shown, number);
          this.#earliest = Math.max(this.#earliest, performance.now() + REST);
          this.#go();
        }
      }
    }

    /** Say what went wrong; where it may pass, ask again after a while. */
    #fail(error) {
      this.#heard.failed(error);
      if (!error.retryAfter) return;
      this.#isWanted = true;
      this.#earliest = performance.now() + 1000 * error.retryAfter;
    }
  }

  globalThis.Asking = Asking;
}
