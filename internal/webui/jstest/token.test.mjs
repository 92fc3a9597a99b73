import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DELAY_MS } from "../static/client.js";
import { filled, settle, setup } from "./world.mjs";

test("a token is asked for, sent as a subprotocol, and told wrong when it is", async () => {
  const log = filled(1, 1);
  const { world, client } = setup(log, { status: 401 });
  client.run();
  world.socket.drop();
  await settle();
  assert.equal(client.wantsToken, true);
  assert.match(client.detail, /wants a token/);
  client.useToken("pä/ss wörd+?");
  const offered = world.socket.protocols[1];
  assert.match(offered, /^dashstream\.bearer\.[A-Za-z0-9_-]+$/);
  assert.equal(Buffer.from(offered.slice("dashstream.bearer.".length), "base64url").toString(), "pä/ss wörd+?");
  world.socket.drop();
  await settle();
  assert.match(client.detail, /does not accept this token/);
  client.useToken("right");
  world.serve();
  assert.equal(client.wantsToken, false);
  assert.equal(client.status, "live");
  // Other refusals are told by their number; a server that is away by nothing.
  world.status = 503;
  world.socket.drop();
  world.clock.advance(MAX_DELAY_MS);
  world.socket.drop();
  await settle();
  assert.match(client.detail, /HTTP 503/);
  assert.equal(client.wantsToken, false);
});

test("while a token is waited for the server is left alone", async () => {
  const log = filled(1, 1);
  const { world, client } = setup(log, { status: 401 });
  client.run();
  world.socket.drop();
  // The attempt that is due waits for the answer of why the last one failed.
  world.clock.advance(MAX_DELAY_MS);
  assert.equal(world.sockets.length, 1);
  await settle();
  assert.deepEqual([client.status, client.wantsToken, client.retryAt], ["waiting", true, undefined]);
  for (let i = 0; i < 100; i++) {
    world.clock.advance(60_000);
    client.retryNow(); // the network came back, the tab was shown again
    client.restart(); // another view was chosen
    await settle();
  }
  assert.deepEqual([world.sockets.length, world.probes], [1, 1]);
  client.useToken("wrong");
  world.socket.drop();
  await settle();
  world.clock.advance(3_600_000);
  assert.deepEqual([world.sockets.length, world.probes, client.wantsToken], [2, 2, true]);
  // A server that is away after a token was entered is tried again as ever.
  client.useToken("right");
  world.status = 0;
  world.socket.drop();
  await settle();
  world.clock.advance(MAX_DELAY_MS);
  assert.equal(world.sockets.length, 4);
  world.serve();
  assert.equal(client.status, "live");
  // The person may also ask the server again, or enter a token after a stop.
  const other = setup(log, { status: 401 });
  other.client.run();
  other.world.socket.drop();
  await settle();
  other.client.tryAgain();
  assert.equal(other.world.sockets.length, 2);
  other.client.stop();
  other.client.useToken("right");
  other.world.serve();
  assert.equal(other.client.status, "live");
});
