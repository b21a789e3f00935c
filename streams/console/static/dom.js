// Helpers around the document. Data only ever becomes text: nothing here, or anywhere on the page, parses it as markup.

export const find = (selector, root = document) => root.querySelector(selector);

export function fromTemplate(id) {
  return find(`#${id}`).content.firstElementChild.cloneNode(true);
}

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Writes only what changed, so that a screen reader is not told the same thing twice. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function money(product) {
  if (product.price === null) return "";
  const digits = Number.isInteger(product.price) ? 0 : 2;
  const amount = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  if (!product.currency) return product.price.toLocaleString("en", amount);
  try {
    return product.price.toLocaleString("en", { style: "currency", currency: product.currency, ...amount });
  } catch {
    return `${product.price.toLocaleString("en", amount)} ${product.currency}`;
  }
}

export const percent = (share) => `${Math.round(100 * share)}\u202f%`;

export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
