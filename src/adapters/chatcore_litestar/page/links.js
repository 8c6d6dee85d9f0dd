// Turns the web addresses in a text into links.

import { el } from "./dom.js";

const ADDRESS = /https?:\/\/[^\s<>"'`\p{C}]+/giu;
const CLOSING = { ")": "(", "]": "[", "}": "{", "»": "«", "”": "“" };

/** Nodes that show exactly `text`, with links. */
export function linked(text) {
  const nodes = [];
  let done = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = trimmed(found);
    if (!safe(address)) continue;
    nodes.push(text.slice(done, index), link(address));
    done = index + address.length;
  }
  nodes.push(text.slice(done));
  return nodes.filter((node) => node !== "");
}

function link(address) {
  const href = new URL(address).href;
  return el("a", { href, target: "_blank", rel: "noopener noreferrer" }, address);
}

function safe(address) {
  try {
    const { protocol, username, password, hostname } = new URL(address);
    // An address such as `https://bank.example@elsewhere.example` is meant to mislead.
    return /^https?:$/.test(protocol) && !username && !password && hostname !== "";
  } catch {
    return false;
  }
}

/** Removes punctuation at the end that belongs to the sentence, not to the address. */
function trimmed(address) {
  for (;;) {
    const last = address.at(-1);
    const opening = CLOSING[last];
    const unopened = opening && address.split(last).length > address.split(opening).length;
    if (!unopened && !/[.,;:!?…]/.test(last)) return address;
    address = address.slice(0, -1);
  }
}
