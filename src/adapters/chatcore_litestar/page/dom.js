// Creates elements. Text is only set as text; nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  back: "M15 5l-7 7 7 7",
  down: "M12 5v14M6 13l6 6 6-6",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  leave: "M14 4H6a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h8M17 8l4 4-4 4M21 12H10",
  pending: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  failed: "M12 8v5M12 16.500v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  sent: "M5 12.500l5 5L19 7",
  read: "M2 12.500l5 5L16 7M12 16.500l1 1L22 7",
  person: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 20.500c0-3.500 3.500-5.500 8-5.500s8 2 8 5.500",
  eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
};

/** Creates an element. Attributes that are functions become listeners (`onclick`); those that are
 * false or undefined are omitted. Children are nodes and text; undefined ones are omitted. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export const hidden = (text) => el("span", { class: "unseen" }, text);

/** Isolates a name whose text direction may differ from its paragraph's. */
export const bdi = (text) => el("bdi", {}, text);

/** The initials of a name, on a colour derived from the name. */
export function avatar(name) {
  const [first, second] = name.split(/[\s._-]+/u).filter(Boolean);
  const initials = second ? letter(first) + letter(second) : letter(first ?? name);
  const element = el("span", { class: "avatar", "aria-hidden": "true" }, initials);
  let hash = 7;
  for (const character of name.toLowerCase()) hash = (hash * 31 + character.codePointAt(0)) % 360;
  element.style.setProperty("--hue", hash);
  return element;
}

const segmenter = globalThis.Intl?.Segmenter && new Intl.Segmenter();

function letter(word) {
  const first = segmenter ? [...segmenter.segment(word)][0].segment : [...word][0];
  return first.toUpperCase();
}

/** Makes the children of `parent` match `items`, in their order, and keeps the elements of keys
 * that stay. Each item has a `key`; `make(item)` creates its element, `update(element, item)`
 * fills it. */
export function reconcile(parent, items, make, update) {
  const before = parent.rows ?? new Map();
  const rows = new Map();
  for (const item of items) rows.set(item.key, before.get(item.key) ?? make(item));
  for (const [key, row] of before) if (rows.get(key) !== row) row.remove();
  const focused = parent.contains(document.activeElement) && document.activeElement;
  let place = parent.firstChild;
  for (const item of items) {
    const row = rows.get(item.key);
    update(row, item);
    if (row === place) place = place.nextSibling;
    else parent.insertBefore(row, place);
  }
  parent.rows = rows;
  // An element loses the focus when it is moved.
  if (focused && focused !== document.activeElement) focused.focus({ preventScroll: true });
}

const announcer = el("div", { class: "unseen", "aria-live": "polite", role: "status" });

/** Announces `text` to users of screen readers. */
export function announce(text) {
  if (!announcer.isConnected) document.body.append(announcer);
  announcer.textContent = text;
}
