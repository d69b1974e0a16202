// Keeps the server's draft at most a few seconds behind the mask, and says when it cannot.

export const QUIET_S = 2;
const FIRST_RETRY_S = 2;
const LONGEST_RETRY_S = 15;

// States a listener is told: "clean", "waiting" (changes not sent yet), "sending", "saved", "lost"
// (no network: tried again), "refused" (the server said no: not tried again).
export class DraftKeeper {
  // put(voxels) resolves to {saved_at}; `edit` is a MaskEdit; `clock` is what tests replace.
  constructor({ edit, put, autosaveS, tell, clock = systemClock }) {
    this.edit = edit;
    this.put = put;
    this.longestS = Math.min(10, autosaveS || 10);
    this.tell = tell;
    this.clock = clock;
    this.saved = edit.revision;
    this.dirtySince = null;
    this.timer = null;
    this.sending = null;
    this.retryS = FIRST_RETRY_S;
    this.stopped = false;
  }

  get behind() {
    return this.edit.revision !== this.saved;
  }

  // The mask changed: send it after a quiet moment, or when the first change is old enough.
  changed() {
    if (this.stopped || !this.behind) return;
    const now = this.clock.now();
    this.dirtySince ??= now;
    this.tell("waiting");
    // A second is kept back, since sending takes its time too.
    const left = this.dirtySince + this.longestS - 1 - now;
    this.#arm(Math.max(0, Math.min(QUIET_S, left)));
  }

  // Send now; resolves to whether the server holds the mask as it is.
  async flush() {
    while (!this.stopped && this.behind) {
      if (!(await (this.sending ?? this.#send()))) return false;
    }
    return !this.behind;
  }

  // What the server holds is the mask as it is now (after a save, or when a draft was opened).
  settled(revision = this.edit.revision) {
    this.saved = revision;
    if (this.behind) return;
    this.dirtySince = null;
    this.#disarm();
    this.tell("clean");
  }

  stop() {
    this.stopped = true;
    this.#disarm();
  }

  #arm(seconds) {
    this.#disarm();
    this.timer = this.clock.after(seconds, () => {
      this.timer = null;
      // A send under way sees the newer revision when it ends.
      if (this.sending === null) void this.#send();
    });
  }

  #disarm() {
    if (this.timer !== null) this.clock.cancel(this.timer);
    this.timer = null;
  }

  // Resolves to whether it went well; never rejects.
  #send() {
    this.#disarm();
    this.tell("sending");
    this.sending = this.#deliver().finally(() => {
      this.sending = null;
      if (this.behind && !this.stopped && this.timer === null) this.#arm(QUIET_S);
    });
    return this.sending;
  }

  async #deliver() {
    const revision = this.edit.revision;
    try {
      const { saved_at: savedAt } = await this.put(this.edit.voxels.slice());
      this.saved = revision;
      this.retryS = FIRST_RETRY_S;
      this.dirtySince = this.behind ? this.clock.now() : null;
      this.tell("saved", savedAt);
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  #failed(error) {
    if (error.name !== "Unreachable") {
      this.tell("refused", error.message);
      this.stop();
      return;
    }
    this.tell("lost");
    this.#arm(this.retryS);
    this.retryS = Math.min(LONGEST_RETRY_S, this.retryS * 2);
  }
}

const systemClock = {
  now: () => performance.now() / 1000,
  after: (seconds, act) => setTimeout(act, seconds * 1000),
  cancel: (timer) => clearTimeout(timer),
};
