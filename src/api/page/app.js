// The page: one overview, one view per printer. It uses the public API and nothing else.

import { h, text } from "./dom.js";
import * as api from "./api.js";
import * as curve from "./curve.js";
import * as printerView from "./printer.js";
import * as start from "./start.js";
import * as status from "./status.js";
import { inJob, state } from "./words.js";

const main = document.getElementById("main");
const link = document.getElementById("link");

/** By id: what was told last, and when. */
const known = new Map();
let shown = null, listening = false, lostAt = null;

const all = () => [...known.values()].map((k) => k.p).sort((a, b) => a.id - b.id);
const ageOf = (k) => performance.now() - k.at;

function take(row) {
  const p = { ...row.layerd, camera: Boolean(row.printer && row.printer.hasCam) };
  known.set(p.id, { p, at: performance.now() });
  return p;
}

/** Which printer the address names; a single one needs no overview. */
function wanted() {
  let name = location.hash.replace(/^#\/?/, "");
  try { name = decodeURIComponent(name); } catch { /* Typed by a person: it is no printer's name then. */ }
  const printers = all();
  if (printers.length === 1) return printers[0];
  return printers.find((p) => p.name === name) || null;
}

const open = (what, pid) => start.open(what, pid, all);

function route() {
  const one = wanted();
  const key = one ? `printer ${one.id}` : `fleet ${all().map((p) => p.id).join(",")}`;
  if (shown && shown.key === key) return;
  const first = shown === null;
  if (shown) shown.stop();
  shown = one ? single(one, key) : fleet(key);
  main.replaceChildren(shown.node);
  update();
  chart();
  if (!first) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
}

function single(p, key) {
  const view = printerView.view(p, { open, alone: known.size === 1 });
  return { key, ...view, update: () => { const k = known.get(p.id); if (k) view.update(k.p, ageOf(k)); } };
}

function fleet(key) {
  const blocks = all().map((p) => [p.id, status.block(p, { big: false, open })]);
  const node = blocks.length
    ? h("div", {}, h("h1", { class: "sr" }, "Printers"), h("div", { class: "fleet" }, blocks.map(([, b]) => b.node)))
    : h("p", { class: "empty" }, "No printer is configured yet. ", h("code", {}, "layerd discover"), " finds them and prints what to write into the configuration.");
  return {
    key, node, stop: () => {},
    update: () => { for (const [id, b] of blocks) { const k = known.get(id); if (k) b.update(k.p, ageOf(k)); } },
    chart: () => { for (const [id, b] of blocks) if (known.has(id)) b.chart(); },
  };
}

let due = false;
/** At most once a frame, however many events come. */
function update() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (shown) shown.update();
    title();
  });
}

function chart() {
  if (shown && shown.chart && !document.hidden) shown.chart();
}

function title() {
  const busy = all().filter(inJob);
  const one = busy[0];
  const words = !one ? "layerd"
    : busy.length > 1 ? `${busy.length} printing – layerd`
    : `${one.job && one.job.percent !== null ? `${Math.floor(one.job.percent)} % ` : `${state(one)[0]} `}${one.name} – layerd`;
  if (document.title !== words) document.title = words;
}

function tellLink() {
  link.dataset.state = lostAt === null ? "live" : "lost";
  document.body.classList.toggle("lost", lostAt !== null);
  text(link, lostAt === null ? "Live" : `No connection for ${Math.max(1, Math.round((performance.now() - lostAt) / 1000))} s: what you see may be old`);
}

async function begin() {
  if (listening) return;
  listening = true;
  let curves = "";
  await api.follow({
    all: (rows) => {
      known.clear();
      rows.forEach(take);
      const ids = all().map((p) => p.id);
      route();
      update();
      if (curves !== ids.join()) {
        curves = ids.join();
        if (ids.length) curve.load(ids).then(chart).catch(() => { curves = ""; });
      }
    },
    one: (row) => {
      const fresh = !known.has(row.id);
      const p = take(row);
      if (fresh) route();
      curve.note(p, (heat) => heat.age_ms);
      update();
    },
    gone: (data) => { known.delete(data.id); route(); update(); },
    live: () => { if (lostAt !== null || !link.dataset.state) { lostAt = null; tellLink(); } },
    lost: () => { if (lostAt === null) lostAt = performance.now(); tellLink(); },
  });
  listening = false;
}

/** Asks for a key; the page goes on with it. */
function unlock(why) {
  if (shown && shown.key === "key") return text(shown.why, why);
  if (shown) shown.stop();
  document.querySelectorAll("dialog").forEach((d) => d.close());
  const reason = h("p", { class: "small quiet", role: "alert" }, why);
  const input = h("input", { type: "password", id: "key", name: "key", autocomplete: "off", required: true });
  const form = h("form", { class: "card keyform", onsubmit: (e) => {
    e.preventDefault();
    api.setKey(input.value.trim());
    shown = null;
    main.replaceChildren();
    begin();
  } },
  h("h1", {}, "This host wants a key"),
  h("p", {}, "Make one on the host with ", h("code", {}, "layerd key create NAME"), " and paste it here. It stays in this tab and is forgotten with it."),
  reason,
  h("label", { class: "field" }, "API key", input),
  h("div", { class: "actions" }, h("button", { class: "main" }, "Open")));
  shown = { key: "key", node: form, why: reason, stop: () => {}, update: () => {}, chart: null };
  link.removeAttribute("data-state");
  text(link, "");
  main.replaceChildren(form);
  input.focus();
}

api.locked.tell = (why) => unlock(api.hasKey() ? why || "This key is not valid (any more)." : "");
// A drop beside a printer must not make the browser leave the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (e) => e.preventDefault());
addEventListener("hashchange", () => {
  if (/[#&]key=/.test(location.hash)) { api.takeKey(); location.reload(); } else if (!shown || shown.key !== "key") route();
});
addEventListener("resize", chart);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { update(); chart(); } });
setInterval(() => {
  if (document.hidden) return;
  update();
  if (lostAt !== null) tellLink();
}, 1000);
setInterval(() => {
  for (const k of known.values()) curve.note(k.p, (heat) => heat.age_ms + ageOf(k));
  chart();
}, 2000);
api.takeKey();
text(link, "Connecting …");
begin();
