// What a printer does, and the buttons for it: the same block in the overview and on its own page.

import { ask, h, keyed, pressed, say, show, text, toast } from "./dom.js";
import * as api from "./api.js";
import * as curve from "./curve.js";
import * as recover from "./recover.js";
import * as words from "./words.js";

/** Older than this a temperature is told with its age. */
const STALE = 15000;

const WENT = { verified: "", sent: "", accepted: "", unverified: "Sent, but the printer has not shown it yet." };

/** Runs a command behind a button and tells how it went. */
export function command(button, action, pid, body, done) {
  return pressed(button, async () => {
    const outcome = await api.act(action, pid, body);
    toast(outcome.outcome === "unverified" ? outcome.message || WENT.unverified : done);
    return outcome;
  });
}

/** A block that `update(p)` keeps true. `open(file)`: shows the dialog for a new print. */
export function block(p, { big, open }) {
  const id = p.id;
  let now = p;
  const title = big
    ? h("h1", { id: `p${id}` }, p.name)
    : h("h2", { id: `p${id}` }, h("a", { href: `#/${encodeURIComponent(p.name)}` }, p.name));
  const pill = h("span", { class: "pill" });
  const why = h("p", { class: "small", hidden: true });
  const file = h("p", { class: "file" });
  const percent = h("span", { class: "percent num" });
  const fillNode = h("i");
  const bar = h("div", { class: "bar", role: "progressbar", "aria-label": "Progress of the print", "aria-valuemin": 0, "aria-valuemax": 100 }, fillNode);
  const facts = h("p", { class: "facts num" });
  const job = h("div", { class: "job", hidden: true }, h("div", { class: "row" }, file, percent), bar, facts);
  const message = h("p", { class: "small quiet", hidden: true });
  const notices = h("div", { class: "notices", role: "alert", hidden: true });
  const temps = h("div", { class: "temps num" });
  const chart = h("figure", { "aria-hidden": "true" });
  const button = (label, kind, press) => h("button", { type: "button", class: kind, hidden: true, onclick: (e) => press(e.currentTarget) }, label);

  const pause = button("Pause", "", (b) => command(b, "Pause", id, {}, `${now.name} is paused.`));
  const resume = button("Resume", "main", (b) => command(b, "Resume", id, {}, `${now.name} goes on.`));
  const cancel = button("Cancel …", "danger", async (b) => {
    const yes = await ask({
      title: "Cancel this print?",
      words: `${now.job ? now.job.file : "The print"} on ${now.name} ends here and cannot be continued.`,
      yes: "Cancel the print", no: "Keep printing", danger: true,
    });
    if (yes) command(b, "Cancel", id, {}, `The print on ${now.name} is cancelled.`);
  });
  const begin = button("Begin to print", "main", (b) => command(b, "BeginPrint", id, {}, `${now.name} prints.`));
  const clear = button("The bed is clear", "main", (b) => command(b, "ClearBed", id, {}, "Noted: the bed is clear."));
  const chooser = h("input", { type: "file", hidden: true, "aria-hidden": "true", tabindex: -1, accept: ".gcode,.gco,.g,.bgcode,.3mf,.gx,.gz" });
  chooser.addEventListener("change", () => { if (chooser.files[0]) open(chooser.files[0], id); chooser.value = ""; });
  const print = button("Print a file …", "", () => chooser.click());
  const off = button("Heaters off", "", (b) => command(b, "HeatersOff", id, {}, "Heaters are off."));
  const again = button("Reconnect", "main", (b) => command(b, "Reconnect", id, {}, `${now.name} is being connected again.`));
  const estop = button("Emergency stop", "stop far", (b) => command(b, "EmergencyStop", id, {}, `${now.name} was stopped at once.`));
  const actions = h("div", { class: "actions", role: "group", "aria-label": `Commands for ${p.name}` },
    begin, again, clear, print, resume, pause, cancel, off, estop, chooser);

  const node = h(big ? "section" : "article", { class: big ? "card big" : "card", "aria-labelledby": `p${id}` },
    h("header", {}, title, pill), why, job, notices, message, temps, chart, actions);
  accept(node, (dropped) => open(dropped, id));

  let said = null;
  function update(next, age) {
    now = next;
    const [state, tone] = words.state(now);
    text(pill, state);
    if (pill.dataset.tone !== tone) pill.dataset.tone = tone;
    if (said !== null && said !== state) say(`${now.name}: ${state}`);
    said = state;
    const reason = now.link && !now.link.up && now.link.why ? now.link.why.message : now.state === "not_ready" ? now.why : null;
    text(why, reason);
    show(why, Boolean(reason));
    jobOf(now, age);
    text(message, now.message ? `On its display: ${now.message}` : "");
    show(message, Boolean(now.message));
    noticesOf(now, notices);
    tempsOf(now, temps, age);
    buttonsOf(now);
  }

  function jobOf(p2, age) {
    const j = p2.job;
    show(job, Boolean(j));
    if (!j) return;
    text(file, j.file);
    const done = j.percent;
    text(percent, done === null ? "" : `${Math.floor(done)} %`);
    if (done === null) {
      bar.dataset.unknown = "";
      bar.removeAttribute("aria-valuenow");
    } else {
      delete bar.dataset.unknown;
      bar.setAttribute("aria-valuenow", String(Math.floor(done)));
      fillNode.style.setProperty("width", `${Math.min(100, done)}%`);
    }
    bar.dataset.tone = p2.state === "paused" ? "warn" : "";
    const left = j.time_left_s === null ? null : p2.state === "printing" ? Math.max(0, j.time_left_s - age / 1000) : j.time_left_s;
    const parts = [
      j.layer !== null && (j.layers ? `Layer ${j.layer} of ${j.layers}` : `Layer ${j.layer}`),
      left !== null && `${words.duration(left)} left`,
      left !== null && p2.state === "printing" && `done at ${words.clock(new Date(Date.now() + left * 1000))}`,
      j.skipped.length && `${j.skipped.length} object${j.skipped.length === 1 ? "" : "s"} left out`,
      j.outside && "started elsewhere",
    ].filter(Boolean);
    keyed(facts, parts.join("|"), () => parts.map((part) => h("span", {}, part)));
    show(facts, parts.length > 0);
  }

  function buttonsOf(p2) {
    const state = p2.state;
    const held = state === "downloading" && p2.job && p2.job.held;
    const idle = state === "operational";
    show(pause, state === "printing" || state === "resuming");
    show(resume, state === "paused");
    show(cancel, words.inJob(p2) || state === "downloading");
    show(begin, Boolean(held));
    show(again, ["error", "offline", "not_ready"].includes(state));
    show(clear, p2.bed_dirty && !words.inJob(p2));
    show(print, idle);
    print.classList.toggle("main", !p2.bed_dirty);
    show(off, !words.inJob(p2) && p2.link.up && Object.values(p2.temps).some((t) => t.target > 0));
    show(estop, p2.link.up && p2.capabilities.supported.includes("emergency.stop"));
  }

  return { node, update, chart: () => chart.replaceChildren(curve.draw(now, big, node.clientWidth - 36)) };
}

function noticesOf(p, node) {
  show(node, p.notices.length > 0);
  const canGoOn = p.driver === "marlin" && p.state === "operational";
  keyed(node, JSON.stringify([p.notices, canGoOn]), () => p.notices.map((n) => {
    const resolve = (b, body) => pressed(b, async () => {
      const said = await api.post("printers/notification/Resolve", { pid: p.id, notifications: [{ id: n.id, ...body }] });
      if (!said.status) throw new api.Refused(200, said.message);
    });
    const buttons = n.buttons.map((label, at) =>
      h("button", { type: "button", "data-focus": `${n.id}${at}`, onclick: (e) => resolve(e.currentTarget, { action: String(at) }) }, label));
    return h("div", { class: "notice", "data-level": n.level },
      h("strong", {}, n.title),
      n.text && h("p", { class: "small" }, n.text),
      h("div", { class: "actions" }, buttons,
        n.code === "job/interrupted" && canGoOn && h("button", { type: "button", onclick: () => recover.open(p) }, "Go on with it …"),
        h("button", { type: "button", class: "plain", "data-focus": `${n.id}x`, "aria-label": `Close: ${n.title}`, onclick: (e) => resolve(e.currentTarget, { force: true }) }, "Close")));
  }));
}

function tempsOf(p, node, age) {
  const names = words.heaters(p.temps);
  const tools = names.filter((n) => n.startsWith("tool")).length;
  const rows = names.map((name) => {
    const t = p.temps[name];
    const old = t.age_ms + age;
    return { name, label: words.heater(name, tools > 1), now: words.degrees(t.actual), target: t.target, stale: old > STALE || !p.link.up, old };
  });
  const key = JSON.stringify(rows.map((r) => [r.name, r.now, r.target, r.stale && Math.floor(r.old / 10000)]));
  keyed(node, key, () => rows.map((r) =>
    h("span", { class: r.stale ? "temp stale" : "temp", css: { "--c": `var(${words.color(r.name)})` } },
      h("span", { class: "quiet" }, r.label),
      h("span", {}, h("b", {}, `${r.now} °C`),
        r.target > 0 && h("span", { class: "quiet" }, ` of ${words.degrees(r.target)}`),
        r.stale && h("span", { class: "small stale-note" }, ` ${words.duration(r.old / 1000)} ago`)))));
}

/** Lets files be dropped on something. */
export function accept(node, taken) {
  let depth = 0;
  const files = (e) => e.dataTransfer && [...e.dataTransfer.types].includes("Files");
  const over = (on) => node.classList.toggle("over", on);
  node.addEventListener("dragenter", (e) => { if (files(e)) { depth++; over(true); e.preventDefault(); } });
  node.addEventListener("dragover", (e) => { if (files(e)) { e.preventDefault(); e.dataTransfer.dropEffect = "copy"; } });
  node.addEventListener("dragleave", (e) => { if (files(e) && --depth <= 0) { depth = 0; over(false); } });
  node.addEventListener("drop", (e) => {
    if (!files(e)) return;
    e.preventDefault();
    e.stopPropagation();
    depth = 0;
    over(false);
    if (e.dataTransfer.files.length > 1) toast("One file at a time, please.", "bad");
    else if (e.dataTransfer.files[0]) taken(e.dataTransfer.files[0]);
  });
}
