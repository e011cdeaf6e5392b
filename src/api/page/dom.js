// Elements without HTML from text: whatever comes from outside becomes a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "css") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An element. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An element of a picture. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Sets a text only when it changed: screen readers are told of changes only. */
export function text(node, words) {
  const said = words === null || words === undefined ? "" : String(words);
  if (node.textContent !== said) node.textContent = said;
}

/** Shows or hides. */
export function show(node, on) {
  if (node.hidden === on) node.hidden = !on;
}

/** Replaces children only when `key` changed, so that focus and scroll stay where they are. */
export function keyed(node, key, make) {
  if (node.dataset.key === key) return;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  node.dataset.key = key;
  node.replaceChildren(...[make()].flat(Infinity).filter(Boolean));
  if (focused) for (const e of node.querySelectorAll("[data-focus]")) if (e.dataset.focus === focused) e.focus();
}

/** A short message at the edge of the page. */
export function toast(words, tone) {
  const box = document.getElementById("toasts");
  while (box.children.length > 3) box.firstChild.remove();
  const node = h("div", { class: "toast", "data-tone": tone }, words);
  box.append(node);
  setTimeout(() => node.remove(), tone === "bad" ? 9000 : 4500);
}

/** Tells screen readers. */
export function say(words) {
  document.getElementById("said").textContent = words;
}

/** A modal question; resolves to whether it was answered with yes. */
export function ask({ title, words, yes, no = "Keep as it is", danger = false }) {
  return new Promise((resolve) => {
    let answer = false;
    const done = (value) => { answer = value; dialog.close(); };
    const yesButton = h("button", { type: "button", class: danger ? "stop" : "main", onclick: () => done(true) }, yes);
    const noButton = h("button", { type: "button", onclick: () => done(false) }, no);
    const dialog = h("dialog", { class: "narrow", "aria-labelledby": "ask-title" },
      h("div", { class: "inside" },
        h("h2", { id: "ask-title" }, title),
        words && h("p", {}, words),
        h("div", { class: "actions" }, noButton, yesButton)));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog);
    dialog.showModal();
    noButton.focus();
  });
}

/** Runs something behind a button: it cannot be pressed twice, and failures are told. */
export async function pressed(button, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    toast(error.message || String(error), "bad");
    return null;
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}
