import assert from "node:assert/strict";
import test from "node:test";

import { DraftKeeper } from "../../../../review_app/mask_editor/frontend/src/draft_keeper.js";
import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { MaskEdit } from "../../../../review_app/mask_editor/frontend/src/mask_edit.js";
import { Refused, Unreachable } from "../../../../review_app/mask_editor/frontend/src/refusals.js";

// A clock that stands still until it is told to go on.
class Clock {
  time = 0;
  timers = [];
  now = () => this.time;
  after = (seconds, act) => {
    const timer = { due: this.time + seconds, act };
    this.timers.push(timer);
    return timer;
  };
  cancel = (timer) => {
    this.timers = this.timers.filter((each) => each !== timer);
  };

  async pass(seconds) {
    const until = this.time + seconds;
    for (;;) {
      await settle();
      const next = this.timers.filter((timer) => timer.due <= until).sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.cancel(next);
      this.time = next.due;
      next.act();
    }
    this.time = until;
    await settle();
  }
}

async function settle() {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

function keeping(answer = async () => ({ saved_at: "now" })) {
  const grid = new Grid([10, 10, 10], [1, 1, 1]);
  const edit = new MaskEdit(grid, new Uint8Array(grid.size));
  const clock = new Clock();
  const sent = [];
  const states = [];
  const put = async (voxels) => {
    sent.push({ time: clock.time, voxels });
    return answer(sent.length);
  };
  const tell = (state) => states.push(state);
  const keeper = new DraftKeeper({ edit, put, autosaveS: 10, tell, clock });
  let next = 0;
  const stroke = () => {
    edit.begin("Brush", 2);
    edit.set(next++, 1);
    edit.commit();
    keeper.changed();
  };
  return { keeper, edit, clock, sent, states, stroke };
}

test("a stroke is sent after a quiet moment, and nothing more follows", async () => {
  const { clock, sent, states, stroke, edit } = keeping();
  stroke();
  await clock.pass(60);

  assert.equal(sent.length, 1);
  assert.deepEqual(sent[0].voxels, edit.voxels);
  assert.deepEqual(states, ["waiting", "sending", "saved"]);
});

test("with strokes that never pause the draft is at most ten seconds behind", async () => {
  const { clock, sent, stroke } = keeping();
  for (let i = 0; i < 60; i++) {
    stroke();
    await clock.pass(1);
  }

  let before = 0;
  for (const { time } of sent) {
    assert.ok(time - before <= 10, `sent at ${time}, before at ${before}`);
    before = time;
  }
  assert.ok(sent.length >= 5);
});

test("a lost network is said and tried again until it is back", async () => {
  const { clock, sent, states, stroke, keeper } = keeping(async (n) => {
    if (n < 4) throw new Unreachable();
    return { saved_at: "now" };
  });
  stroke();
  await clock.pass(60);

  assert.equal(sent.length, 4);
  assert.deepEqual(states.filter((state) => state !== "sending"), ["waiting", "lost", "lost", "lost", "saved"]);
  assert.equal(keeper.behind, false);
});

test("a refusal is said once and not tried again", async () => {
  const { clock, sent, states, stroke } = keeping(async () => {
    throw new Refused(409, "somebody saved a newer version");
  });
  stroke();
  await clock.pass(60);
  stroke();
  await clock.pass(60);

  assert.equal(sent.length, 1);
  assert.equal(states.at(-1), "refused");
});

test("flush sends at once, also what was drawn while it was sending", async () => {
  const box = {};
  const { keeper, sent, stroke, edit } = keeping(async (n) => {
    if (n === 1) box.stroke();
    return { saved_at: "now" };
  });
  box.stroke = stroke;
  stroke();

  assert.equal(await keeper.flush(), true);
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[1].voxels, edit.voxels);
});

test("flush gives up when the server is gone, and says so", async () => {
  const { keeper, stroke } = keeping(async () => {
    throw new Unreachable();
  });
  stroke();

  assert.equal(await keeper.flush(), false);
});

test("after a save nothing is left to keep", async () => {
  const { keeper, clock, sent, stroke, edit } = keeping();
  stroke();
  keeper.settled(edit.revision);
  await clock.pass(60);

  assert.equal(sent.length, 0);
});
