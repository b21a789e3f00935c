// The taste: two rings, the outer one lately, the inner one all along, and the same figures as a table.

import { hueOf, shadeOf } from "./art.js";
import { find, make, percent, write } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";
const RINGS = [["lately", 51, 14], ["all_along", 34, 9]];
const GAP = 0.6;

export class Taste {
  constructor() {
    this.arcs = new Map();
    for (const [, radius, width] of RINGS) find("#rings").append(this.arc("track", radius, width, 0, 100));
  }

  show(rows, events) {
    const wanted = new Set();
    for (const [name, radius, width] of RINGS) {
      let from = 0;
      for (const row of rows) {
        const key = `${name}\n${row.department}\n${row.category}`;
        wanted.add(key);
        if (!this.arcs.has(key)) {
          const arc = this.arc(`arc shade${shadeOf(row.department, row.category)}`, radius, width, from, 0);
          arc.style.setProperty("--h", String(hueOf(row.department)));
          find("#rings").append(arc);
          arc.getBoundingClientRect(); // so that the first length is animated too
          this.arcs.set(key, arc);
        }
        const length = 100 * row[name];
        this.place(this.arcs.get(key), from, length > GAP ? length - GAP : 0);
        from += length;
      }
    }
    for (const [key, arc] of this.arcs) {
      if (wanted.has(key)) continue;
      arc.remove();
      this.arcs.delete(key);
    }
    find("#tastes").replaceChildren(...rows.map((row) => this.row(row)));
    write(find("#events"), events ? `${events} event${events === 1 ? "" : "s"} seen` : "nothing known yet");
  }

  arc(className, radius, width, from, length) {
    const arc = document.createElementNS(NS, "circle");
    for (const [name, value] of Object.entries({ class: className, cx: 60, cy: 60, r: radius, "stroke-width": width, pathLength: 100, transform: "rotate(-90 60 60)" })) {
      arc.setAttribute(name, value);
    }
    this.place(arc, from, length);
    return arc;
  }

  place(arc, from, length) {
    arc.style.strokeDasharray = `${length} ${100 - length}`;
    arc.style.strokeDashoffset = String(-from);
    arc.style.opacity = length > 0 ? "1" : "0";
  }

  row(row) {
    const line = make("tr");
    const name = make("th");
    name.scope = "row";
    const dot = make("i", `dot shade${shadeOf(row.department, row.category)}`);
    dot.style.setProperty("--h", String(hueOf(row.department)));
    name.append(dot, make("span", "", row.category));
    line.append(name, make("td", row.lately ? "" : "none", percent(row.lately)), make("td", row.all_along ? "" : "none", percent(row.all_along)));
    return line;
  }
}
