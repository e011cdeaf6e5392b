// The page of one printer.

import { ask, h, keyed, show, text, toast } from "./dom.js";
import * as api from "./api.js";
import * as consoleCard from "./console.js";
import * as historyCard from "./history.js";
import * as plate from "./plate.js";
import * as status from "./status.js";
import { duration } from "./words.js";

const PICTURE_EVERY = 6000;
const PICTURE_REST = 30000;

export function view(p, { open, alone }) {
  let now = p;
  const top = status.block(p, { big: true, open });
  const onPlate = plateCard(p.id, () => now);
  const past = historyCard.card(p.id, (job) => open(job, p.id));
  const talk = consoleCard.card(p.id, () => now);
  const camera = p.camera ? cameraCard(p.id) : null;
  const facts = h("dl", { class: "about" });
  const code = h("div", { class: "side", hidden: true });
  const about = h("section", { class: "card", "aria-labelledby": "about" }, h("h2", { id: "about" }, "About this printer"), code, facts);
  const node = h("div", {},
    !alone && h("nav", { "aria-label": "Back" }, h("a", { class: "crumb", href: "#/" }, "← All printers")),
    h("div", { class: "two" },
      h("div", { class: "side" }, top.node, onPlate.node, past.node),
      h("div", { class: "side" }, camera && camera.node, talk.node, about)));
  let jobKey = null;

  function update(next, age) {
    now = next;
    top.update(now, age);
    onPlate.update(now, age);
    const key = `${now.job ? now.job.uid : ""}${now.state === "printing"}`;
    if (jobKey !== null && jobKey !== key) past.refresh();
    jobKey = key;
    aboutOf();
  }

  function aboutOf() {
    const address = `${location.origin}/p/${encodeURIComponent(now.name)}`;
    const firmware = now.firmware ? [now.firmware.name, now.firmware.version].filter(Boolean).join(" ") : "not known yet";
    const clouds = Object.entries(now.upstreams || {});
    const key = JSON.stringify([firmware, now.link.up, clouds, now.traffic.resends]);
    const cloudName = (name) => (name === "simplyprint" ? "SimplyPrint" : name);
    keyed(facts, key, () => [
      h("dt", {}, "Firmware"), h("dd", {}, firmware),
      h("dt", {}, "Driver"), h("dd", {}, now.driver, now.link.up ? "" : " (not connected)"),
      now.traffic.resends > 0 && [h("dt", {}, "Lines sent again"), h("dd", { class: "num" }, now.traffic.resends)],
      clouds.map(([name, c]) => [h("dt", {}, cloudName(name)), h("dd", {}, c.id !== null ? `${c.connected ? "connected" : "not reachable now"}, as ${c.name || `printer ${c.id}`}` : "not paired yet")]),
      h("dt", {}, "For slicers"), h("dd", {}, h("code", {}, address)),
    ]);
    const open1 = clouds.filter(([, c]) => c.code);
    show(code, open1.length > 0);
    keyed(code, JSON.stringify(open1), () => open1.map(([name, c]) => h("div", {},
      h("h3", {}, `Code to pair with ${cloudName(name)}`), h("p", { class: "code" }, c.code),
      h("p", { class: "small quiet" }, "Type it where you add a printer in the cloud's panel."))));
  }

  return { node, update, chart: top.chart, stop: () => { talk.stop(); if (camera) camera.stop(); } };
}

function plateCard(pid, current) {
  const hint = h("p", { class: "small quiet" });
  const picture = h("div");
  const list = h("div");
  const node = h("section", { class: "card", hidden: true, "aria-labelledby": "plate" }, h("h2", { id: "plate" }, "On the plate"), hint, picture, list);
  let data = null, uid = null, drawn = "";

  async function load(job) {
    uid = job.uid;
    data = null;
    try {
      const said = await api.get("printers/GetPlate", { pid });
      if (said.data.job && said.data.job.uid === uid) data = said.data;
      else uid = null;
      draw(current(), 0);
    } catch {
      // Asked again with the next change.
      setTimeout(() => { uid = null; }, 5000);
    }
  }

  function update(p, age) {
    if (!p.job || p.state === "downloading") {
      uid = data = null;
      drawn = "";
      return show(node, false);
    }
    if (p.job.uid !== uid) load(p.job);
    else if (data) draw(p, age);
  }

  function draw(p, age) {
    if (!data || !p.job) return;
    const out = new Set(p.job.skipped);
    const can = p.capabilities.supported.includes("objects.skip") && ["printing", "paused"].includes(p.state) && data.objects.length - out.size > 1;
    const at = p.position && p.position.age_ms + age < 15000 ? p.position : null;
    const key = JSON.stringify([uid, p.job.skipped, can, at && [Math.round(at.x), Math.round(at.y)]]);
    show(node, Boolean(data.part || data.objects.length));
    if (key === drawn) return;
    drawn = key;
    const tap = can ? skip : null;
    if (data.part || data.objects.some((o) => o.bbox || o.polygon.length)) picture.replaceChildren(plate.draw(data, { out, tap, position: at }));
    text(hint, can ? "Tap an object to leave it out; the others go on." : data.objects.length ? "" : "This file does not tell its objects apart.");
    show(hint, hint.textContent !== "");
    keyed(list, JSON.stringify([uid, p.job.skipped, can]), () => (data.objects.length ? plate.list(data.objects, { out, tap, picture: () => picture }) : null));
  }

  async function skip(object) {
    const p = current();
    const yes = await ask({
      title: `Leave out “${object.name}”?`,
      words: "From here on the printer skips it and goes on with the others. It cannot be taken back.",
      yes: "Leave it out", no: "Keep printing it", danger: true,
    });
    if (!yes) return;
    try {
      const outcome = await api.act("SkipObjects", pid, { object_ids: [object.id] });
      toast(outcome.outcome === "unverified" ? outcome.message : `${p.name} leaves out ${object.name}.`);
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  return { node, update };
}

function cameraCard(pid) {
  const image = h("img", { class: "photo", alt: "Picture of the printer's camera" });
  const note = h("p", { class: "small quiet", role: "status" });
  const node = h("section", { class: "card", "aria-labelledby": "camera" }, h("h2", { id: "camera" }, "Camera"), image, note);
  let timer = null, taken = 0, stopped = false;

  async function look() {
    if (stopped) return;
    let rest = PICTURE_EVERY;
    if (!document.hidden) {
      try {
        const address = await api.picture(pid);
        const old = image.src;
        image.src = address;
        if (old) URL.revokeObjectURL(old);
        taken = Date.now();
        text(note, "");
      } catch (error) {
        // No turn just now is no trouble.
        if (error.status !== 503) {
          rest = PICTURE_REST;
          text(note, `${error.message}${taken ? ` The picture is ${duration((Date.now() - taken) / 1000)} old.` : ""}`);
        }
      }
    }
    if (!stopped) timer = setTimeout(look, api.pace(rest));
  }
  look();
  return { node, stop: () => { stopped = true; clearTimeout(timer); if (image.src) URL.revokeObjectURL(image.src); } };
}
