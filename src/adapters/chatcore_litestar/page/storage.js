// The browser's localStorage as JSON. Where it is full or forbidden, memory stands in for it:
// what is typed then lasts as long as the tab.

const memory = new Map();

export function load(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    return JSON.parse(localStorage.getItem(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

export function save(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    memory.delete(key);
  } catch {
    memory.set(key, value);
  }
}

export function forget(key) {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // Then there was nothing to remove.
  }
}

/** Every stored key with this prefix, in the order of their names. */
export function keys(prefix) {
  const found = new Set(memory.keys());
  try {
    for (let i = 0; i < localStorage.length; i++) found.add(localStorage.key(i));
  } catch {
    // Memory is all there is.
  }
  return [...found].filter((key) => key.startsWith(prefix)).sort();
}

/** Calls `heard(key)` when another tab changes something; `key` is null when it clears all. */
export function onOtherTabs(heard) {
  addEventListener("storage", (event) => heard(event.key));
}
