// The browser's localStorage, as JSON. If it is full or forbidden, memory replaces it: the data then
// lasts as long as the tab.

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
    // Storage is forbidden, so it has nothing to remove.
  }
}

/** Every stored key with this prefix, sorted. */
export function keys(prefix) {
  const found = new Set(memory.keys());
  try {
    for (let i = 0; i < localStorage.length; i++) found.add(localStorage.key(i));
  } catch {
    // Storage is forbidden: memory has all keys.
  }
  return [...found].filter((key) => key.startsWith(prefix)).sort();
}

/** Calls `changed(key)` when another tab changes a key; `key` is null when it clears all. */
export function onOtherTabs(changed) {
  addEventListener("storage", (event) => changed(event.key));
}
