// The agent's events as they happen (server-sent events). Read by fetch and not by EventSource, which
// sends no headers and would need the token in the address.
import * as api from "./api.js";

/** Silence after which a connection counts as dead: the agent says something every 15 seconds. */
const SILENCE = 45_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;

/** Opens and keeps open one stream. `states` hears "connecting", "live", "waiting", "ended". */
export class Stream {
  #listeners = new Map();
  #states = new Set();
  #state = "connecting";
  #after = null;
  #stop = new AbortController();

  /** Calls `heard(event)` for each event of a kind; returns what undoes that. The kind "missed" says
   *  that events were lost, and "live" that the stream (re)opened: both mean to ask anew. */
  on(kind, heard) {
    const all = this.#listeners.get(kind) ?? new Set();
    this.#listeners.set(kind, all.add(heard));
    return () => all.delete(heard);
  }

  /** Calls `heard(state)` now and whenever it changes; returns what undoes that. */
  onState(heard) {
    this.#states.add(heard);
    heard(this.#state);
    return () => this.#states.delete(heard);
  }

  /** Reads until closed. `denied` is called when the session no longer holds. */
  async run(denied) {
    let wait = FIRST_WAIT;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#read(() => {
          wait = FIRST_WAIT;
        });
      } catch (fault) {
        if (this.#stop.signal.aborted) {
          return;
        }
        if (fault.isDenied) {
          this.#become("ended");
          denied();
          return;
        }
        if (fault.status === 404) {
          this.#become("ended");
          return;
        }
      }
      this.#become("waiting");
      // Not all tabs at once, after the agent was restarted.
      await this.#pause(wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }

  /** Ends it. */
  close() {
    this.#stop.abort();
    this.#listeners.clear();
    this.#states.clear();
  }

  async #read(opened) {
    const attempt = new AbortController();
    const end = () => attempt.abort();
    this.#stop.signal.addEventListener("abort", end, { once: true });
    let alarm = setTimeout(end, SILENCE);
    try {
      const response = await api.stream(this.#after, attempt.signal);
      opened();
      this.#become("live");
      this.#tell("live", null);
      const frames = new Frames();
      const text = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await text.read();
        if (done) {
          return;
        }
        clearTimeout(alarm);
        alarm = setTimeout(end, SILENCE);
        frames.push(value).forEach((frame) => this.#take(frame));
      }
    } finally {
      clearTimeout(alarm);
      this.#stop.signal.removeEventListener("abort", end);
    }
  }

  #take({ id, kind, data }) {
    if (id !== null) {
      this.#after = id;
    }
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    this.#tell(kind, event);
  }

  #tell(kind, event) {
    this.#listeners.get(kind)?.forEach((heard) => heard(event));
  }

  #become(state) {
    if (state !== this.#state) {
      this.#state = state;
      this.#states.forEach((heard) => heard(state));
    }
  }

  #pause(span) {
    return new Promise((over) => {
      const timer = setTimeout(over, span);
      const end = () => {
        clearTimeout(timer);
        over();
      };
      this.#stop.signal.addEventListener("abort", end, { once: true });
    });
  }
}

/** Frames of an event stream, from text that is cut anywhere. */
export class Frames {
  #rest = "";
  #id = null;
  #kind = "message";
  #data = [];

  /** The frames that are whole now. */
  push(text) {
    const whole = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) {
          whole.push({ id: this.#id, kind: this.#kind, data: this.#data.join("\n") });
        }
        this.#kind = "message";
        this.#data = [];
      } else {
        this.#field(line);
      }
    }
    return whole;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") {
      this.#id = value;
    } else if (name === "event") {
      this.#kind = value;
    } else if (name === "data") {
      this.#data.push(value);
    }
  }
}
