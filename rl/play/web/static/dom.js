// Elements, made in one expression.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name in element && !(element instanceof SVGElement) && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);
export const $ = (id) => document.getElementById(id);

/**
 * Let `host` hold the element of each item, in order: the one that it has for `key(item)` already, or else a new one,
 * `make(item)`. Those that stay keep the focus, and a click that is under way.
 */
export function renew(host, items, key, make) {
  const wanted = new Map(items.map((item) => [String(key(item)), item]));
  for (const child of [...host.children]) if (!wanted.has(child.dataset.key)) child.remove();
  const known = new Map([...host.children].map((child) => [child.dataset.key, child]));
  const held = document.activeElement;
  let place = 0;
  for (const [name, item] of wanted) {
    const element = known.get(name) ?? make(item);
    element.dataset.key = name;
    if (host.children[place] !== element) host.insertBefore(element, host.children[place] ?? null);
    place++;
  }
  if (held !== document.activeElement && host.contains(held)) held.focus({ preventScroll: true });
}

/** Whether a button can be used now. Not by `disabled`, which takes the focus away from whoever has just pressed it. */
export const able = (button, yes) => button.setAttribute("aria-disabled", String(!yes));

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const winning = (value) => (1 + value) / 2; // a value in [-1, 1] as a chance
export const thousands = (n) => (n < 10000 ? String(n) : `${(n / 1000).toFixed(n < 100000 ? 1 : 0)}k`);

/** An agent's name; of a path, the end of it, with the run's folder before one of its own. */
export const short = (name) => {
  const parts = name.split("/").filter(Boolean);
  return parts.slice(/^(best|\d+)$/.test(parts.at(-1) ?? "") ? -2 : -1).join("/") || name;
};

/** A setting kept in this browser. */
export const kept = {
  get(name, fallback) {
    try {
      return localStorage.getItem(`fuseki.${name}`) ?? fallback;
    } catch {
      return fallback; // storage may be forbidden
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`fuseki.${name}`, value);
    } catch {
      // then it lasts as long as the page does
    }
  },
};
