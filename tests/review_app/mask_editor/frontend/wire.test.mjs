import assert from "node:assert/strict";
import test from "node:test";

import { Wire } from "../../../../review_app/mask_editor/frontend/src/wire.js";

const DOCUMENT = { xsrf: "secret", base_version: "v-7" };

function wired(answers) {
  const asked = [];
  const fetcher = async (url, options) => {
    asked.push({ url, ...options });
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { wire: new Wire("/edit/token/document", fetcher), asked };
}

test("a writing request carries secret, base version and an id of its own", async () => {
  const { wire, asked } = wired([Response.json(DOCUMENT), new Response(), new Response()]);
  await wire.document();
  await wire.send("PUT", "mask", new Uint8Array(3));
  await wire.send("PUT", "mask", new Uint8Array(3), { request: "r1" });

  const { url, method, headers } = asked[1];
  assert.equal(url, "/edit/token/mask");
  assert.equal(method, "PUT");
  assert.equal(headers["X-AtlasLoop-Xsrf"], "secret");
  assert.equal(headers["X-AtlasLoop-Base"], "v-7");
  assert.match(headers["X-AtlasLoop-Request"], /^[0-9a-f]{32}$/);
  assert.equal(headers["Content-Encoding"], undefined);
  assert.equal(asked[2].headers["X-AtlasLoop-Request"], "r1");
});

test("a refusal carries the server's own words", async () => {
  const { wire } = wired([Response.json({ error: "newer version" }, { status: 409 })]);

  await assert.rejects(wire.document(), { name: "Refused", status: 409, message: "newer version" });
});

test("no network and a server in restart are the same: to be tried again", async () => {
  const { wire } = wired([new TypeError("failed to fetch"), new Response("", { status: 503 })]);

  await assert.rejects(wire.document(), { name: "Unreachable" });
  await assert.rejects(wire.document(), { name: "Unreachable" });
});

test("a layer that does not fill the region is refused", async () => {
  const { wire } = wired([new Response(new Uint8Array(26)), new Response(new Uint8Array(54))]);

  await assert.rejects(wire.mask("layer/mask", 27), /must hold 27 voxels, got 26/);
  assert.equal((await wire.ct(27)).length, 27);
});
