// The pictures of products: drawn, not fetched. The department gives the hue, the category the motif, the brand the
// accent, and the item the arrangement and the key (light, middle or deep), so the same item always looks the same.

const HUES = [152, 40, 300, 235, 85, 195, 5, 265, 120, 335, 62, 215];
const NS = "http://www.w3.org/2000/svg";
const W = 120, H = 90;

let departments = new Map();
let categories = new Map();
let learnt = "";

/** Learn the shop's departments and categories, so that neighbours differ; true if what is drawn looks old now. */
export function learn(shop) {
  const names = JSON.stringify(shop.map((one) => [one.name, one.categories.map((category) => category.name)]));
  if (names === learnt) return false;
  learnt = names;
  departments = new Map(shop.map((one, place) => [one.name, place]));
  categories = new Map();
  for (const one of shop) {
    for (const category of one.categories) categories.set(`${one.name}\n${category.name}`, categories.size);
  }
  return true;
}

/** FNV-1a, 32 bits. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** mulberry32: numbers in [0, 1) that are the same for the same seed. */
function dice(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Hue, in degrees, of a department. */
export function hueOf(department) {
  const place = departments.get(department) ?? hash(department) % HUES.length;
  return HUES[place % HUES.length];
}

/** Which shade, 0 to 3, a category has among those of its department. */
export function shadeOf(department, category) {
  return (categories.get(`${department}\n${category}`) ?? hash(category)) % 4;
}

function shape(tag, className, attributes) {
  const element = document.createElementNS(NS, tag);
  element.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, typeof value === "number" ? value.toFixed(1) : value);
  }
  return element;
}

const circle = (c, cx, cy, r) => shape("circle", c, { cx, cy, r });
const path = (c, d) => shape("path", c, { d });

// each gets a random source and returns shapes for a 120 x 90 picture; s1 to s3 are tones, a is the accent
const MOTIFS = [
  function peaks(r) {
    const ridge = (y, rough) => {
      let d = `M-5 95V${y}`;
      for (let x = -5; x <= 125; x += 26) d += `L${x + 13} ${(y - 8 - r() * rough).toFixed(1)}L${x + 26} ${(y + r() * 8).toFixed(1)}`;
      return `${d}V95Z`;
    };
    return [circle("a", 22 + r() * 76, 20 + r() * 12, 8 + r() * 5), path("s1", ridge(50, 26)), path("s2", ridge(66, 20)), path("s3", ridge(82, 14))];
  },
  function arcs(r) {
    const [x, y] = [r() < 0.5 ? 0 : W, r() < 0.5 ? 0 : H];
    const step = 13 + r() * 5;
    return [6, 5, 4, 3, 2, 1].map((n) => circle(["s1", "s2", "s3"][n % 3], x, y, n * step)).concat(circle("a", W - x + (x ? 26 : -26), H - y + (y ? 24 : -24), 9 + r() * 4));
  },
  function dots(r) {
    const shapes = [], [fx, fy, lucky] = [r() * 5, r() * 5, Math.floor(r() * 35)];
    for (let i = 0; i < 35; i++) {
      const [x, y] = [i % 7, Math.floor(i / 7)];
      const size = 3.2 + 3.4 * (1 + Math.sin(x * 0.9 + fx) * Math.cos(y * 0.9 + fy)) ** 0.8;
      shapes.push(circle(i === lucky ? "a" : size > 6.4 ? "s3" : size > 4.8 ? "s2" : "s1", 9 + x * 17, 9 + y * 18, Math.min(size, 8)));
    }
    return shapes;
  },
  function waves(r) {
    const band = (y, swing, turn) => {
      let d = `M-5 95V${y}`;
      for (let x = -5; x <= 125; x += 5) d += `L${x} ${(y + swing * Math.sin(x / 17 + turn)).toFixed(1)}`;
      return `${d}V95Z`;
    };
    return [circle("a", 24 + r() * 72, 18, 9 + r() * 4), ...["s1", "s2", "s3"].map((tone, n) => path(tone, band(38 + n * 19, 5 + r() * 5, r() * 6)))];
  },
  function tiles(r) {
    const shapes = [], lucky = Math.floor(r() * 12);
    for (let i = 0; i < 12; i++) {
      const [x, y, turn] = [(i % 4) * 30, Math.floor(i / 4) * 30, Math.floor(r() * 4)];
      const corner = [`M${x} ${y}h30a30 30 0 0 1-30 30Z`, `M${x + 30} ${y}v30a30 30 0 0 1-30-30Z`, `M${x + 30} ${y + 30}h-30a30 30 0 0 1 30-30Z`, `M${x} ${y + 30}v-30a30 30 0 0 1 30 30Z`][turn];
      shapes.push(path(i === lucky ? "a" : ["s1", "s2", "s3"][Math.floor(r() * 3)], corner));
    }
    return shapes;
  },
  function rays(r) {
    const shapes = [], [x, y, count, turn] = [35 + r() * 50, 90 + r() * 6, 15, r()];
    for (let n = 0; n < count; n++) {
      const [from, to] = [n, n + 0.55].map((at) => Math.PI * (1 + (at + turn * 0.4) / count));
      const far = 150;
      shapes.push(path(n % 2 ? "s1" : "s2", `M${x} ${y}L${(x + far * Math.cos(from)).toFixed(1)} ${(y + far * Math.sin(from)).toFixed(1)}L${(x + far * Math.cos(to)).toFixed(1)} ${(y + far * Math.sin(to)).toFixed(1)}Z`));
    }
    return [...shapes, circle("s3", x, y, 36), circle("a", x, y, 22)];
  },
  function leaves(r) {
    const leaf = (tone, x, y, size, turn) => {
      const one = path(tone, `M0 0C${size * 0.55} ${-size * 0.35} ${size * 0.55} ${-size * 0.95} 0 ${-size * 1.3}C${-size * 0.55} ${-size * 0.95} ${-size * 0.55} ${-size * 0.35} 0 0Z`);
      one.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${turn.toFixed(1)})`);
      return one;
    };
    const x = 48 + r() * 24, size = 40 + r() * 8;
    return [circle("a", r() < 0.5 ? 22 : 98, 22, 9), ...[-78, 78, -44, 44, -14, 16].map((turn, n) => leaf(["s1", "s1", "s2", "s2", "s3", "s3"][n], x, 88, size, turn + (r() - 0.5) * 10))];
  },
  function bars(r) {
    const shapes = [], lucky = Math.floor(r() * 9);
    for (let n = 0; n < 9; n++) {
      const high = 18 + r() * 56;
      shapes.push(shape("rect", n === lucky ? "a" : ["s1", "s2", "s3"][Math.floor(r() * 3)], { x: 6 + n * 12.4, y: 45 - high / 2, width: 8.6, height: high, rx: 4.3 }));
    }
    return shapes;
  },
  function orbits(r) {
    const [x, y] = [46 + r() * 28, 38 + r() * 14];
    const ring = (radius) => shape("circle", "line", { cx: x, cy: y, r: radius });
    const ball = (tone, radius, size) => {
      const at = r() * 2 * Math.PI;
      return circle(tone, x + radius * Math.cos(at), y + radius * Math.sin(at), size);
    };
    return [circle("s1", x, y, 60), circle("s2", x, y, 15), ring(27), ring(40), ring(54), ball("s3", 27, 5), ball("a", 40, 7.5), ball("s3", 54, 4)];
  },
  function weave(r) {
    const shapes = [], lean = r() < 0.5 ? 1 : -1, shift = r() * 20;
    for (let n = -4; n < 12; n++) shapes.push(path(["s1", "s2", "s1", "s3"][(n + 4) % 4], lean > 0 ? `M${n * 16 + shift - 60} 95L${n * 16 + shift} -5h9L${n * 16 + shift - 51} 95Z` : `M${n * 16 + shift} 95L${n * 16 + shift - 60} -5h9L${n * 16 + shift + 9} 95Z`));
    return [...shapes, circle("a", 30 + r() * 60, 30 + r() * 30, 15)];
  },
];

/** A picture of a product; it says nothing that the text beside it does not, so it is hidden from screen readers. */
export function art(product) {
  const random = dice(hash(product.item_id));
  const svg = shape("svg", `drawn key${Math.floor(3 * random())}`, { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true", focusable: "false" });
  const hue = hueOf(product.department) + 24 * (random() - 0.5);
  svg.style.setProperty("--h", hue.toFixed(1));
  svg.style.setProperty("--a", ((hue + 110 + (hash(product.brand) % 8) * 20) % 360).toFixed(1));
  const motif = categories.get(`${product.department}\n${product.category}`) ?? hash(product.category);
  svg.append(shape("rect", "ground", { width: W, height: H }), ...MOTIFS[motif % MOTIFS.length](random));
  return svg;
}
