// The shelves: departments, search, and the cards.

import { art, hueOf } from "./art.js";
import { find, fromTemplate, make, money, write } from "./dom.js";

const PAGE = 24;
const DID = { click: "clicked", browse: "looked at", purchase: "bought" };

export class Shop {
  /** `act(type, product, card)` is called when somebody clicks, browses or buys. */
  constructor(act) {
    this.act = act;
    this.department = this.category = this.words = "";
    this.shown = 0;
    this.asked = 0;
    this.total = -1;
    this.offered = { departments: [], others: 0 };
    this.done = new Map();
    let waiting;
    find("#words").addEventListener("input", (event) => {
      clearTimeout(waiting);
      this.words = event.target.value;
      waiting = setTimeout(() => this.load(), 150);
    });
    find("#search").addEventListener("submit", (event) => event.preventDefault());
    find("#more").addEventListener("click", () => this.load(true));
  }

  /** What there is to choose from changed; `redraw` where the pictures did, too. */
  update(shop, redraw) {
    const before = JSON.stringify(this.offered);
    this.offered = shop.offered;
    if (JSON.stringify(shop.offered) !== before) this.chips();
    this.takeAway(shop.gone);
    const changed = shop.products !== this.total;
    this.total = shop.products;
    // cards that somebody looks at stay, unless there is room for more
    if (redraw || (changed && this.shown < PAGE)) this.load();
  }

  /** Remove the cards of items that the shop does not sell any more. */
  takeAway(gone) {
    const ids = new Set(gone);
    for (const card of [...find("#cards").children]) {
      if (!ids.has(card.dataset.id)) continue;
      card.remove();
      this.shown -= 1;
    }
  }

  chips() {
    const { departments, others } = this.offered;
    this.group("#departments", "Everything", departments, others, this.department, (name) => {
      this.department = name;
      this.category = "";
    });
    const chosen = departments.find((one) => one.name === this.department);
    const below = chosen && chosen.categories.length > 1 ? chosen.categories : [];
    this.group("#categories", `All ${this.department}`, below, chosen?.others ?? 0, this.category, (name) => {
      this.category = name;
    });
  }

  group(selector, all, choices, others, chosen, choose) {
    const box = find(selector);
    const held = box.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    const chip = (name, words, count) => {
      const button = make("button", "chip", words);
      button.type = "button";
      button.dataset.name = name;
      button.setAttribute("aria-pressed", String(name === chosen));
      if (name) button.style.setProperty("--h", String(hueOf(selector === "#departments" ? name : this.department)));
      if (count !== undefined) button.append(make("span", "n", ` ${count}`));
      button.addEventListener("click", () => {
        choose(name);
        this.chips();
        this.load();
      });
      return button;
    };
    box.hidden = choices.length === 0;
    box.replaceChildren(...(choices.length ? [chip("", all), ...choices.map((one) => chip(one.name, one.name, one.count))] : []));
    if (choices.length && others) box.append(make("span", "beyond", `and ${others.toLocaleString("en")} more, found by their names`));
    if (held !== undefined) [...box.children].find((one) => one.dataset.name === held)?.focus();
  }

  async load(further = false) {
    const asked = ++this.asked;
    const offset = further ? this.shown : 0;
    const query = new URLSearchParams({ offset, limit: PAGE, department: this.department, category: this.category, words: this.words });
    const answer = await fetch(`api/products?${query}`).catch(() => null);
    if (asked !== this.asked || !answer?.ok) return;
    const page = await answer.json();
    const cards = page.products.map((product) => this.card(product));
    if (further) {
      find("#cards").append(...cards);
      cards[0]?.querySelector(".open").focus();
    } else {
      const held = document.activeElement.closest(".card")?.dataset.id;
      find("#cards").replaceChildren(...cards);
      if (held !== undefined) cards.find((card) => card.dataset.id === held)?.querySelector(".open").focus({ preventScroll: true });
    }
    this.shown = offset + cards.length;
    find("#more").hidden = this.shown >= page.total;
    write(find("#count"), page.total ? `${this.shown} of ${page.total.toLocaleString("en")}` : "");
    const empty = find("#shop-empty");
    empty.hidden = page.total > 0;
    write(empty, this.total > 0 ? "Nothing on the shelves fits these words." : "The topic `catalog` holds no products yet: they appear here as they arrive.");
  }

  card(product) {
    const card = fromTemplate("card");
    card.dataset.id = product.item_id;
    find(".art", card).append(art(product));
    find(".kind", card).textContent = product.category;
    find(".title", card).textContent = product.title;
    find(".maker", card).textContent = product.brand;
    find(".price", card).textContent = money(product);
    card.style.setProperty("--h", String(hueOf(product.department)));
    for (const [selector, type, words] of [[".open", "click", "Click"], [".browse", "browse", "Browse"], [".buy", "purchase", "Buy"]]) {
      const button = find(selector, card);
      if (type !== "click") button.setAttribute("aria-label", `${words} ${product.title}`);
      button.addEventListener("click", () => {
        this.act(type, product, {});
        this.done.set(product.item_id, type);
        this.mark(card, product);
      });
    }
    this.mark(card, product);
    return card;
  }

  mark(card, product) {
    const type = this.done.get(product.item_id);
    const mark = find(".mark", card);
    mark.hidden = !type;
    mark.textContent = type ? DID[type] : "";
  }

  /** Another shopper has done nothing here yet. */
  restart() {
    this.done.clear();
    for (const mark of document.querySelectorAll("#cards .mark")) mark.hidden = true;
  }
}
