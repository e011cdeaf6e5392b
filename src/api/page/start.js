// From a file to a print: it arrives, it is analyzed, a person looks at it and may leave objects out, and
// only then is the start offered.

import { h, pressed, text, toast } from "./dom.js";
import * as api from "./api.js";
import * as plate from "./plate.js";
import * as words from "./words.js";

const WARNINGS_MAX = 50;

/** Opens the dialog for a file of this computer (a `File`) or one that the host has (`{id, name}`). */
export function open(what, pid, printers) {
  const stop = {};
  let closed = false, stored = null, data = null, chosen = pid, asked = 0;
  const out = new Set();
  const heading = h("h2", { id: "start-title" }, what.name);
  const words1 = h("p", { class: "small quiet", role: "status" });
  const fillNode = h("i");
  const bar = h("div", { class: "bar", role: "progressbar", "aria-label": "Upload", "aria-valuemin": 0, "aria-valuemax": 100 }, fillNode);
  const body = h("div", { class: "split" });
  const select = h("select", { onchange: () => { chosen = Number(select.value); look(); } });
  const chooser = h("label", { class: "field", hidden: true }, "Printer", select);
  const go = h("button", { type: "button", class: "main", hidden: true, onclick: () => start() }, "Start the print");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Stop the upload");
  const dialog = h("dialog", { "aria-labelledby": "start-title" },
    h("div", { class: "inside" }, heading, words1, bar, chooser, body, h("div", { class: "actions" }, close, go)));
  dialog.addEventListener("close", () => { closed = true; if (stop.now) stop.now(); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
  run();

  async function run() {
    try {
      if (what instanceof File) {
        text(words1, `Uploading ${words.bytes(what.size)} …`);
        stored = await api.upload(what, (part) => {
          bar.setAttribute("aria-valuenow", String(Math.floor(part * 100)));
          fillNode.style.setProperty("width", `${part * 100}%`);
        }, stop);
      } else {
        stored = what;
      }
      stop.now = null;
      await look();
    } catch (error) {
      fail(error);
    }
  }

  function fail(error) {
    if (closed) return;
    bar.hidden = true;
    text(words1, "");
    text(close, "Close");
    body.replaceChildren(h("p", { class: "verdict", "data-tone": "bad", role: "alert" }, error.message));
    go.hidden = true;
  }

  /** What is known of the file, and whether it fits the chosen printer. */
  async function look() {
    const mine = ++asked;
    bar.hidden = false;
    bar.dataset.unknown = "";
    text(words1, "Reading the file: what is on the plate, how long, how hot …");
    text(close, "Close");
    go.disabled = true;
    try {
      const said = await api.get("files/GetAnalysis", { id: stored.id, pid: chosen });
      if (mine !== asked || closed) return;
      if (!said.status) throw new api.Refused(200, said.message);
      data = said.data;
      bar.hidden = true;
      delete bar.dataset.unknown;
      text(words1, "The file is on the host. Nothing moves before you start it.");
      shown();
    } catch (error) {
      if (mine === asked) fail(error);
    }
  }

  function shown() {
    const all = printers();
    chooser.hidden = all.length < 2;
    select.replaceChildren(...all.map((p) => h("option", { value: p.id, selected: p.id === chosen }, `${p.name} (${words.state(p)[0]})`)));
    select.value = String(chosen);
    const picture = h("div");
    const draw = () => picture.replaceChildren(plate.draw(data, { out, tap: toggle }));
    const list = h("div");
    const toggle = (o) => {
      if (out.has(o.id)) out.delete(o.id);
      else if (data.objects.length - out.size > 1) out.add(o.id);
      else return toast("One object has to stay.", "bad");
      again();
    };
    const again = () => {
      draw();
      const at = document.activeElement && document.activeElement.dataset.focus;
      list.replaceChildren(plate.list(data.objects, { out, tap: toggle, back: toggle, picture: () => picture }));
      const id = at && at.replace(/^\D+/, "");
      const next = id && list.querySelector(`[data-focus=out${id}],[data-focus=back${id}]`);
      if (next) next.focus();
    };
    draw();
    if (data.objects.length > 1) again();
    body.replaceChildren(
      h("div", { class: "side" }, picture, data.objects.length > 1 && h("h3", {}, "Tap what is to be left out"), list),
      h("div", { class: "side" }, facts(data.analysis), verdict(), notes()));
    const ready = offer();
    go.hidden = false;
    go.disabled = !ready;
    if (ready) go.focus();
  }

  function offer() {
    const p = printers().find((one) => one.id === chosen);
    text(go, p && p.bed_dirty ? "The bed is clear: start the print" : "Start the print");
    return Boolean(p && data.check && data.check.passes && p.state === "operational");
  }

  function verdict() {
    const p = printers().find((one) => one.id === chosen);
    if (!p) return h("p", { class: "verdict", "data-tone": "warn" }, "Choose a printer.");
    if (data.check && !data.check.passes) return h("p", { class: "verdict", "data-tone": "bad", role: "alert" }, data.check.message);
    if (p.state !== "operational") {
      return h("p", { class: "verdict", "data-tone": "warn" }, `${p.name} cannot start it now: ${words.state(p)[0].toLowerCase()}. The file is kept.`);
    }
    if (p.bed_dirty) {
      return h("p", { class: "verdict", "data-tone": "warn" }, `It fits ${p.name}, but the last print may still lie on the bed. Look before you start.`);
    }
    return h("p", { class: "verdict" }, data.bed ? `Checked: it fits ${p.name}.` : `Checked for ${p.name}; its bed size is not configured.`);
  }

  function notes() {
    const list = (data.check ? data.check.problems.filter((n) => !n.refuses) : []).slice(0, WARNINGS_MAX);
    if (!list.length) return null;
    return h("div", {}, h("h3", {}, "Worth knowing"), h("ul", { class: "warnings" }, list.map((n) => h("li", {}, n.message))));
  }

  function start() {
    const id = api.startId();
    const p = printers().find((one) => one.id === chosen);
    return pressed(go, async () => {
      if (p && p.bed_dirty) await api.act("ClearBed", chosen);
      const order = what.reprint && !data.id ? { reprint: what.reprint } : { file_id: data.id };
      const outcome = await api.act("CreateJob", chosen, { ...order, skipped_objects: [...out], layerd: { start_id: id } });
      toast(outcome.outcome === "unverified" ? outcome.message : `${p ? p.name : "The printer"} has begun ${data.name}.`);
      dialog.close();
    });
  }
}

function facts(a) {
  const rows = [];
  const add = (name, value) => { if (value) rows.push(h("dt", {}, name), h("dd", { class: "num" }, value)); };
  const time = a.time.slicer_s ?? a.time.model_s;
  add("Time", time !== null && words.duration(time));
  add("Layers", a.layers.count !== null && (a.layers.height_mm ? `${a.layers.count} of ${+a.layers.height_mm.toFixed(3)} mm` : a.layers.count));
  add("Size", a.size_mm && a.size_mm.map((v) => v.toFixed(1)).join(" × ") + " mm");
  for (const f of a.filament) {
    const much = [f.mm !== null && words.metres(f.mm), f.g !== null && `${f.g.toFixed(f.g < 10 ? 1 : 0)} g`, f.material].filter(Boolean).join(", ");
    const swatch = /^#[0-9a-f]{6}$/i.test(f.color || "") && h("span", { class: "swatch", css: { background: f.color } });
    add(a.filament.length > 1 ? `Filament ${f.tool + 1}` : "Filament", much && h("span", {}, swatch, much));
  }
  const tools = Object.values(a.temps.tools).map((t) => t.max).filter((v) => v !== null);
  const heat = [tools.length && `nozzle ${Math.max(...tools)} °C`, a.temps.bed.max !== null && `bed ${a.temps.bed.max} °C`].filter(Boolean).join(", ");
  add("Heat", heat);
  add("Sliced by", a.slicer.name && [a.slicer.name, a.slicer.version].filter(Boolean).join(" "));
  add("Sliced for", a.printer_model);
  add("File", words.bytes(a.size));
  return h("dl", { class: "about" }, rows);
}
