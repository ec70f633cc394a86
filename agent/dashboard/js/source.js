// One question to the API whose answer several parts of a page show.

/** Asks with `load(signal)`, keeps the last answer, and tells those who show it. */
export class Source {
  #load;
  #listeners = new Set();
  #end = new AbortController();
  #running = null;
  #again = false;
  #optional;
  #state = { data: undefined, problem: null, at: null };

  /** With `optional`, a route that does not exist is asked for once. */
  constructor(load, { optional = false } = {}) {
    this.#load = load;
    this.#optional = optional;
  }

  /** Calls `show(state)` now and after every answer: `{ data, problem, at }`, where `data` is the last
   *  good answer and `problem` says why there is no newer one. */
  subscribe(show) {
    this.#listeners.add(show);
    show(this.#state);
    return () => this.#listeners.delete(show);
  }

  /** Asks anew; while a question is under way, once more after it. */
  refresh() {
    if (this.#optional && this.#state.problem?.status === 404) {
      return Promise.resolve();
    }
    if (this.#running !== null) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#ask().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The last answer, asked for where there is none; throws the problem. */
  async value() {
    if (this.#state.data === undefined || this.#running !== null) {
      await (this.#running ?? this.refresh());
    }
    if (this.#state.data === undefined) {
      throw this.#state.problem ?? new DOMException("ended", "AbortError");
    }
    return this.#state.data;
  }

  /** Ends what is under way, and tells nobody any more. */
  dispose() {
    this.#end.abort();
    this.#listeners.clear();
  }

  async #ask() {
    do {
      this.#again = false;
      try {
        const data = await this.#load(this.#end.signal);
        this.#state = { data, problem: null, at: new Date() };
      } catch (problem) {
        if (this.#end.signal.aborted) {
          return;
        }
        this.#state = { ...this.#state, problem };
      }
      // An answer to what is no longer asked is not shown.
    } while (this.#again && !this.#end.signal.aborted);
    this.#listeners.forEach((show) => show(this.#state));
  }
}

/** Calls `act` at most every `span` milliseconds, however often it is asked to. */
export function paced(span, act) {
  let timer = null;
  let last = -Infinity;
  const paced = () => {
    if (timer === null) {
      const wait = Math.max(0, last + span - performance.now());
      timer = setTimeout(() => {
        timer = null;
        last = performance.now();
        act();
      }, wait);
    }
  };
  paced.cancel = () => clearTimeout(timer);
  return paced;
}
