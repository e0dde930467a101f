// Small tools for building and updating elements. Text is always set as text, never as markup.

/** Makes an element: el("p", {class: "x", onclick: f}, "text", child). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only when it changed, so that screen readers and layout are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

let announcing = 0;

/** Says a sentence to screen readers. */
export function announce(sentence) {
  const node = byId("announcer");
  clearTimeout(announcing);
  node.textContent = "";
  announcing = setTimeout(() => { node.textContent = sentence; }, 60);
}
