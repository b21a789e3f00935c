// The recommendations: rows keep their identity from list to list, so that one that moves is seen to move.

import { art, hueOf } from "./art.js";
import { find, fromTemplate, isCalm, make, money, percent, write } from "./dom.js";

const MOVE_MS = 450;
const EASE = "cubic-bezier(.2, .8, .2, 1)";

export class List {
  /** `act(type, product, where)` is called when somebody clicks or buys a place of the list. */
  constructor(act) {
    this.act = act;
    this.rows = new Map();
    this.places = new Map();
    this.id = null;
  }

  /** Show a list; returns how many places are new and how many moved up, or null if nothing changed. */
  show(view) {
    const listed = view.items.map((one) => one.product.item_id);
    if (view.recommendation_id === this.id && listed.every((id) => this.rows.has(id))) return null;
    const first = this.places.size === 0;
    this.id = view.recommendation_id;
    const box = find("#rows");
    const before = new Map([...this.rows].map(([id, row]) => [id, row.getBoundingClientRect()]));
    const held = box.contains(document.activeElement) ? document.activeElement : null;
    const rows = new Map();
    const change = { fresh: 0, up: 0 };
    view.items.forEach((item, place) => {
      const id = item.product.item_id;
      const row = this.rows.get(id) ?? this.row(item.product);
      this.fill(row, item, place);
      const was = this.places.get(id);
      const move = find(".move", row);
      const [kind, words, spoken] = first ? ["", "", ""] : was === undefined ? ["fresh", "new", "new"] : was > place ? ["up", `▲${was - place}`, `up ${was - place}`] : was < place ? ["down", `▼${place - was}`, `down ${place - was}`] : ["", "", ""];
      change.fresh += kind === "fresh";
      change.up += kind === "up";
      move.className = `move ${kind}`;
      move.replaceChildren(...(words ? [this.seen(words), make("span", "hidden", `, ${spoken}`)] : []));
      rows.set(id, row);
    });
    this.rows = rows;
    this.places = new Map(listed.map((id, place) => [id, place]));
    box.replaceChildren(...rows.values());
    if (held?.isConnected) held.focus({ preventScroll: true });
    if (!isCalm() && !first) this.animate(before);
    return change;
  }

  /** On a phone the list is a strip: back to its first place. */
  rewind() {
    find("#rows").scrollTo({ left: 0, behavior: isCalm() ? "auto" : "smooth" });
  }

  /** Draw the pictures again. */
  redraw() {
    for (const row of this.rows.values()) find(".art", row).replaceChildren(art(row.product));
  }

  /** Forget the rows: the next list is another shopper's. */
  restart() {
    this.rows.clear();
    this.places.clear();
    this.id = null;
    find("#rows").replaceChildren();
  }

  seen(words) {
    const span = make("span", "", words);
    span.setAttribute("aria-hidden", "true");
    return span;
  }

  row(product) {
    const row = fromTemplate("row");
    row.product = product;
    const where = () => ({ recommendation_id: this.id, list: "recommendations", position: this.places.get(product.item_id) });
    find(".art", row).append(art(product));
    find(".title", row).textContent = product.title;
    find(".open", row).addEventListener("click", () => this.act("click", product, where()));
    const buy = find(".buy", row);
    buy.textContent = money(product) || "Buy";
    buy.setAttribute("aria-label", `Buy ${product.title}${product.price === null ? "" : ` for ${money(product)}`}`);
    buy.addEventListener("click", () => this.act("purchase", product, where()));
    return row;
  }

  fill(row, item, place) {
    write(find(".rank b", row), String(place + 1));
    write(find(".because", row), item.because);
    const parts = find(".parts", row);
    parts.replaceChildren(
      ...item.parts.map((part) => {
        const bar = make("i");
        bar.style.flexGrow = String(part.share);
        if (part.department !== null) bar.style.setProperty("--h", String(hueOf(part.department)));
        else bar.className = "plain";
        return bar;
      }),
    );
    const words = item.parts.map((part) => `${percent(part.share)} ${part.label}`).join(", ");
    parts.setAttribute("aria-label", words ? `What speaks for it: ${words}` : "No parts");
    parts.title = words;
    parts.hidden = item.parts.length < 1;
  }

  animate(before) {
    for (const [id, row] of this.rows) {
      const was = before.get(id);
      if (!was) {
        row.animate([{ opacity: 0, transform: "translateX(24px)" }, { opacity: 1, transform: "none" }], { duration: MOVE_MS, easing: EASE });
        continue;
      }
      const now = row.getBoundingClientRect();
      const [dx, dy] = [was.left - now.left, was.top - now.top];
      if (dx || dy) row.animate([{ transform: `translate(${dx}px, ${dy}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: EASE });
    }
  }
}
