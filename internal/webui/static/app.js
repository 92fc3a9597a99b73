// Joins the parts to the browser.

import { Client } from "./client.js";
import { $ } from "./dom.js";
import { HealthPoll } from "./health.js";
import { Model } from "./model.js";
import { whyRefused } from "./refusal.js";
import { View } from "./view.js";

const TOKEN = "dashstream.token.v1";
const START = "dashstream.start.v1";
const RENDER_MS = 100;
const QUIET_MS = 30_000;

const starts = {
  "10m": () => ({ sinceMs: Date.now() - 10 * 60_000 }),
  "1h": () => ({ sinceMs: Date.now() - 60 * 60_000 }),
  earliest: () => ({ earliest: true }),
  latest: () => ({ latest: true }),
};

// tab reads and writes this tab's storage, which the browser may forbid.
const tab = {
  get(key) {
    try {
      return sessionStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      sessionStorage.setItem(key, value);
    } catch {
      // Then it is asked for again after a reload.
    }
  },
};

const select = $("start-select");
const stored = tab.get(START);
if (stored !== null && Object.hasOwn(starts, stored)) select.value = stored;

const bearer = (token) => (token === "" ? {} : { Authorization: `Bearer ${token}` });

async function ask(path, token) {
  try {
    const answer = await fetch(path, { headers: bearer(token), cache: "no-store", signal: AbortSignal.timeout(5000) });
    return answer.status;
  } catch {
    return 0;
  }
}

const env = {
  open: (protocols) => new WebSocket(new URL("/ws", location.href.replace(/^http/, "ws")), protocols),
  after(ms, fn) {
    const id = setTimeout(fn, ms);
    return () => clearTimeout(id);
  },
  now: () => performance.now(),
  wall: () => Date.now(),
  random: Math.random,
  storage: {
    getItem: (k) => sessionStorage.getItem(k),
    setItem: (k, v) => sessionStorage.setItem(k, v),
    removeItem: (k) => sessionStorage.removeItem(k),
  },
  // probe asks over HTTP why a handshake failed.
  probe: (token) => whyRefused((path) => ask(path, token)),
};

// Exported for whoever looks in from the browser's console, and for the tests
// that drive the page.
// The browser hashes only in a secure context: HTTPS, or this machine.
const subtle = globalThis.crypto?.subtle;
export const model = new Model({ digest: subtle && ((bytes) => subtle.digest("SHA-256", bytes)), verified: () => later() });
export const client = new Client({ model, env, start: () => starts[select.value](), changed: () => moved() });
client.token = tab.get(TOKEN) ?? "";
export const view = new View(client, model);

// What the server says of itself is asked anew when the connection changes.
let was = client.status;
function moved() {
  if (client.status !== was) {
    was = client.status;
    if (was !== "connecting" && was !== "stopped") health.soon();
  }
  later();
}

// Rendering follows the stream at a bounded rate; the stream never waits for it.
let due = false;
let last = 0;
function later() {
  if (due) return;
  due = true;
  setTimeout(() => requestAnimationFrame(render), Math.max(0, RENDER_MS - (performance.now() - last)));
}
function render() {
  due = false;
  last = performance.now();
  view.render();
}
// Countdowns and rates move without a frame.
setInterval(later, 1000);

const health = new HealthPoll({
  fetch: (signal) => fetch("/readyz?verbose", { cache: "no-store", signal }),
  after: env.after,
  connected: () => client.status !== "stopped" && !client.wantsToken,
  changed(result) {
    view.health = result;
    client.skewMs = health.skewMs;
    // A socket over a network that is gone looks open for a long time.
    const quiet = client.lastFrameAt === undefined || performance.now() - client.lastFrameAt > QUIET_MS;
    if (result.state === "unavailable" && result.times >= 2 && quiet) client.lost("the server does not answer");
    later();
  },
});

$("pause").addEventListener("click", () => {
  if (client.status === "stopped") client.resume();
  else if (client.wantsToken) client.tryAgain();
  else client.stop();
});
select.addEventListener("change", () => {
  tab.set(START, select.value);
  client.restart();
});
$("token").addEventListener("submit", (e) => {
  e.preventDefault();
  const token = $("token-input").value.trim();
  $("token-input").value = "";
  tab.set(TOKEN, token);
  client.useToken(token);
});
window.addEventListener("online", () => client.retryNow());
window.addEventListener("offline", () => client.lost("this computer is offline"));
window.addEventListener("pagehide", () => client.store());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") client.store();
  else client.retryNow();
});

client.run();
health.soon();
later();
