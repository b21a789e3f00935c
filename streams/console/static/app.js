// The page: who shops, what they do, and what comes back.

import { learn } from "./art.js";
import { find, make, write } from "./dom.js";
import { List } from "./list.js";
import { Others } from "./others.js";
import { Shop } from "./shop.js";
import { Taste } from "./taste.js";

const MOST_CHARS = 256;
const LATE_MS = 5000;
const AGAIN_MS = 3000;
const TOAST_MS = 6000;
const MOODS = ["curious", "merry", "gentle", "bold", "sunny", "quiet", "swift", "keen", "lucky", "brisk"];
const ANIMALS = ["otter", "heron", "lynx", "wren", "badger", "fox", "finch", "hare", "marten", "owl", "seal", "stoat"];

const random = (bytes) => [...crypto.getRandomValues(new Uint8Array(bytes))];
const token = () => random(12).map((byte) => byte.toString(16).padStart(2, "0")).join("");
const madeUp = () => {
  const [mood, animal, number] = random(3);
  return `${MOODS[mood % MOODS.length]}-${ANIMALS[animal % ANIMALS.length]}-${number}`;
};

const session = `console-${token()}`;
const sent = new Map(); // events that no list has answered yet: when each was sent
let user = "";
let stream = null;

const shop = new Shop(act);
const list = new List(act);
const taste = new Taste();
const others = new Others(become);

async function act(type, product, where) {
  const action = { type, event_id: token(), user_id: user, item_id: product.item_id, session_id: session, ...where };
  sent.set(action.event_id, performance.now());
  find("#list").classList.add("waiting");
  try {
    const answer = await fetch("api/events", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(action) });
    if (!answer.ok) throw new Error((await answer.json()).error);
    // Kafka has it; what is late from now on is the worker
    setTimeout(() => {
      if (sent.delete(action.event_id)) {
        settle();
        toast(`No list came within ${LATE_MS / 1000} seconds. Is a worker running?`);
      }
    }, LATE_MS);
  } catch (error) {
    if (sent.delete(action.event_id)) toast(error instanceof TypeError ? "The console does not answer any more." : error.message);
    settle();
  }
}

/** A list answers the event that caused it and all before it; returns the milliseconds from the last, if it was ours. */
function answered(eventId) {
  if (!sent.has(eventId)) return null;
  const took = performance.now() - sent.get(eventId);
  for (const id of [...sent.keys()]) {
    sent.delete(id);
    if (id === eventId) break;
  }
  settle();
  return took;
}

function settle() {
  find("#list").classList.toggle("waiting", sent.size > 0);
}

function show(view) {
  if (view.user_id !== user) return;
  const took = view.cause ? answered(view.cause.event_id) : null;
  const change = list.show(view);
  const known = view.recommendation_id !== null;
  write(find("#cause"), known ? `after you ${view.cause.text}` : "");
  const empty = find("#list-empty");
  empty.hidden = view.items.length > 0;
  write(empty, known ? "Nothing to recommend at the moment." : "Click anything in the shop. The first list comes milliseconds later.");
  taste.show(view.taste, view.events);
  if (took !== null) {
    tell(Math.max(1, Math.round(took)), "from click to list");
    list.rewind();
    const first = view.items[0];
    const spoken = first ? ` First: ${[first.product.title, first.because].filter(Boolean).join(", ")}.` : "";
    write(find("#said"), `New list after ${Math.round(took)} milliseconds: ${change?.fresh ?? 0} new, ${change?.up ?? 0} moved up.${spoken}`);
  } else if (change && known) {
    tell(view.worker_ms, "in the worker");
  }
}

function tell(ms, words) {
  const box = find("#took");
  box.hidden = false;
  find("#ms").replaceChildren(ms.toLocaleString("en"), make("small", "", " ms"));
  write(find("#ms-words"), words);
}

let toastEnd;
function toast(sentence) {
  const box = find("#toast");
  box.textContent = sentence;
  box.hidden = false;
  clearTimeout(toastEnd);
  toastEnd = setTimeout(() => (box.hidden = true), TOAST_MS);
}

function link(state, words) {
  const box = find("#link");
  box.dataset.state = state;
  write(find("span", box), words);
}

/** Shop as somebody: known already, or made up. */
function become(wanted) {
  const name = wanted.slice(0, MOST_CHARS);
  if (name === user) return;
  user = name;
  sent.clear();
  settle();
  list.restart();
  shop.restart();
  find("#took").hidden = true;
  find("#user").value = name;
  find("#name").textContent = name;
  document.title = `${name} · prefstream console`;
  const address = new URL(location);
  address.searchParams.set("user", name);
  history.replaceState(null, "", address);
  listen();
}

function listen() {
  stream?.close();
  if (document.hidden) return;
  const address = `api/stream?${new URLSearchParams({ user })}`;
  const mine = (stream = new EventSource(address));
  const on = (name, take) => mine.addEventListener(name, (event) => mine === stream && take(JSON.parse(event.data)));
  mine.onopen = () => link("live", "live");
  mine.onerror = () => {
    if (mine !== stream) return;
    link("lost", "reconnecting");
    // a refusal closes the stream for good, a broken connection is taken up again by the browser
    if (mine.readyState === EventSource.CLOSED) {
      explain(address);
      setTimeout(() => mine === stream && listen(), AGAIN_MS);
    }
  };
  on("list", show);
  on("others", (view) => others.show(view));
  on("shop", update);
}

/** Why a stream was refused: an EventSource keeps it to itself. */
async function explain(address) {
  const stop = new AbortController();
  const answer = await fetch(address, { signal: stop.signal }).catch(() => null);
  if (answer && !answer.ok) toast((await answer.json()).error);
  stop.abort();
}

// a browser opens six connections to a server at most: tabs that nobody looks at must not hold them all
document.addEventListener("visibilitychange", () => user && listen());

function update(view) {
  const redraw = learn(view.offered.departments);
  shop.update(view, redraw);
  if (redraw) {
    list.redraw();
    others.redraw();
  }
  const names = find("#shoppers");
  const key = view.shoppers.join("\n");
  if (names.dataset.key === key) return;
  names.dataset.key = key;
  names.replaceChildren(
    ...view.shoppers.map((name) => {
      const option = make("option");
      option.value = name;
      return option;
    }),
  );
}

find("#who").addEventListener("submit", (event) => {
  event.preventDefault();
  become(find("#user").value.trim() || madeUp());
});
find("#user").addEventListener("focus", (event) => event.target.select());
find("#fresh").addEventListener("click", () => become(madeUp()));

// the hues and motifs of the shop first: what is drawn before would change its looks
const answer = await fetch("api/shop").catch(() => null);
if (answer?.ok) update(await answer.json());
become(new URLSearchParams(location.search).get("user")?.trim() || madeUp());
