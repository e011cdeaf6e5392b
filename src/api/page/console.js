// What goes over the wire, what happened, and a line to send. It asks the host only while it is open.

import { h, pressed, text, toast } from "./dom.js";
import * as api from "./api.js";
import { inJob } from "./words.js";

const EVERY = 4000;
const LINES = 400;

/** Temperatures and bare acknowledgements: what nobody looks for. */
const NOISE = /^[<>] (ok\b.*|wait|M105\b.*|T:.*|\s*T0?:[\d.]+.*|echo:busy.*|M155.*|M27.*)$/;

export function card(pid, current) {
  const list = h("ol", { class: "console mono", role: "log", "aria-label": "Console", tabindex: 0 });
  const kind = h("select", { onchange: () => { seen = null; list.replaceChildren(); look(); } },
    h("option", { value: "wire" }, "Traffic"), h("option", { value: "journal" }, "What happened"));
  const filter = h("input", { type: "search", placeholder: "e.g. M104", autocomplete: "off", spellcheck: "false", oninput: sieve });
  const noise = h("input", { type: "checkbox", checked: true, onchange: sieve });
  const line = h("input", { type: "text", placeholder: "G-code, e.g. G28", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", "aria-label": "G-code to send" });
  const send = h("button", { type: "submit" }, "Send");
  const note = h("p", { class: "small quiet", role: "status" });
  const form = h("form", { class: "send", onsubmit: (e) => { e.preventDefault(); submit(); } }, line, send);
  const details = h("details", { ontoggle: () => { if (details.open) look(); } },
    h("summary", {}, h("h2", {}, "Console")),
    h("div", { class: "side" },
      h("div", { class: "filters" },
        h("label", { class: "field" }, "Show", kind),
        h("label", { class: "field grow" }, "Only lines with", filter),
        h("label", { class: "check small" }, noise, "Hide temperatures and ok")),
      list, form, note));
  const node = h("section", { class: "card" }, details);
  let seen = null, timer = null, said = [], at = 0;

  async function look() {
    clearTimeout(timer);
    if (!details.open || !node.isConnected) return;
    if (!document.hidden) {
      try {
        const wire = kind.value === "wire";
        const answer = await api.get("printers/GetLogs", wire ? { pid, wire: 1, last: LINES } : { pid, last: LINES });
        add(answer.lines);
        text(note, "");
      } catch (error) {
        text(note, error.message);
      }
    }
    timer = setTimeout(look, api.pace(EVERY));
  }

  /** Appends what is new: whatever comes behind the last line that was seen. */
  function add(lines) {
    const from = seen === null ? 0 : lines.lastIndexOf(seen) + 1;
    if (lines.length) seen = lines[lines.length - 1];
    if (from >= lines.length) return;
    const end = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    for (const raw of lines.slice(from)) {
      const space = raw.indexOf(" ");
      const [stamp, rest] = [raw.slice(0, space), raw.slice(space + 1)];
      const item = h("li", { class: rest.startsWith(">") ? "out" : "" },
        h("time", { datetime: stamp }, new Date(stamp).toLocaleTimeString()), h("span", {}, rest));
      item.hidden = hides(rest);
      list.append(item);
    }
    while (list.children.length > LINES) list.firstChild.remove();
    if (end) list.scrollTop = list.scrollHeight;
  }

  function hides(line) {
    const wanted = filter.value.trim().toLowerCase();
    return (noise.checked && NOISE.test(line)) || (wanted !== "" && !line.toLowerCase().includes(wanted));
  }

  function sieve() {
    for (const item of list.children) item.hidden = hides(item.lastChild.textContent);
    list.scrollTop = list.scrollHeight;
  }

  function submit() {
    const words = line.value.trim();
    if (!words) return;
    said = [...said.filter((old) => old !== words), words].slice(-50);
    at = said.length;
    // In a print only what tunes may pass; the host judges every line.
    const tune = inJob(current()) && current().state !== "paused";
    pressed(send, async () => {
      await api.act("SendGcode", pid, { gcode: [words], layerd: tune ? { tune: true } : {} });
      line.value = "";
      toast(`Sent: ${words}`);
      look();
    }).then(() => line.focus());
  }

  line.addEventListener("keydown", (e) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[e.key];
    if (!step || !said.length) return;
    at = Math.max(0, Math.min(said.length, at + step));
    line.value = said[at] || "";
    e.preventDefault();
  });
  return { node, stop: () => clearTimeout(timer) };
}
