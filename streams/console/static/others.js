// What other shoppers get, beside one's own list.

import { art, hueOf } from "./art.js";
import { find, fromTemplate, make, write } from "./dom.js";

export class Others {
  /** `become(user)` is called when somebody wants to shop as another shopper. */
  constructor(become) {
    this.become = become;
    this.rows = new Map();
    this.latest = [];
    const hold = find("#hold");
    hold.addEventListener("click", () => {
      this.held = !this.held;
      hold.setAttribute("aria-pressed", String(this.held));
      this.show(this.latest);
    });
    this.held = false;
  }

  show(others) {
    this.latest = others;
    if (this.held) return;
    const rows = new Map(others.map((other) => [other.user_id, this.rows.get(other.user_id) ?? this.row(other.user_id)]));
    for (const other of others) this.fill(rows.get(other.user_id), other);
    const box = find("#others");
    for (const [user, row] of this.rows) if (!rows.has(user)) row.remove();
    [...rows.values()].forEach((row, place) => {
      if (box.children[place] !== row) box.insertBefore(row, box.children[place] ?? null);
    });
    this.rows = rows;
    find("#others-empty").hidden = others.length > 0;
  }

  /** Draw the pictures again. */
  redraw() {
    for (const row of this.rows.values()) delete row.dataset.key;
    this.show(this.latest);
  }

  row(user) {
    const row = fromTemplate("other");
    find(".face", row).textContent = [...user][0].toUpperCase();
    find("b", row).textContent = user;
    const button = find(".be", row);
    button.title = `Shop as ${user}`;
    button.addEventListener("click", () => this.become(user));
    return row;
  }

  fill(row, other) {
    write(find(".did", row), other.did);
    write(find(".common", row), other.common ? `${other.common} in common with yours` : "nothing in common with yours");
    find(".face", row).style.setProperty("--h", String(hueOf(other.items[0]?.department ?? "")));
    const key = other.items.map((one) => one.item_id).join("\n");
    if (row.dataset.key === key) return;
    row.dataset.key = key;
    find(".strip", row).replaceChildren(
      ...other.items.map((product) => {
        const tile = make("li", "tile");
        tile.title = product.title;
        tile.append(art(product), make("span", "hidden", product.title));
        return tile;
      }),
    );
  }
}
