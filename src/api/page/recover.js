// An interrupted print goes on: first what would be done is shown, then a person says so.

import { h, pressed, text, toast } from "./dom.js";
import * as api from "./api.js";

export function open(p) {
  const layer = h("input", { type: "number", min: 1, step: 1, inputmode: "numeric", placeholder: "where it stood" });
  const height = h("input", { type: "number", min: 0, step: 0.01, inputmode: "decimal", placeholder: "as the printer knows it" });
  const words = h("p", { role: "status" });
  const go = h("button", { type: "button", class: "main", disabled: true, onclick: () => pressed(go, begin) }, "Go on with the print");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Leave it");
  const dialog = h("dialog", { class: "narrow", "aria-labelledby": "recover" },
    h("div", { class: "inside" },
      h("h2", { id: "recover" }, "Go on with the interrupted print?"),
      h("p", {}, "Look at the part first: it must still stick to the bed, and nothing may lie in the way."),
      h("label", { class: "field" }, "Begin with layer", layer),
      h("label", { class: "field" }, "Height at which the nozzle touches the part, mm", height),
      words,
      h("div", { class: "actions" }, close, go)));
  const wish = () => ({
    ...(layer.value ? { layer: Number(layer.value) } : {}),
    ...(height.value ? { z_mm: Number(height.value) } : {}),
  });
  let asked = 0;

  async function look() {
    const mine = ++asked;
    go.disabled = true;
    text(words, "Looking for the place …");
    try {
      const said = await api.post("printers/actions/Recover", { pid: p.id, layerd: wish() }, 300000);
      if (mine !== asked) return;
      if (!said.status) throw new api.Refused(200, said.message);
      const plan = said.layerd.plan;
      text(words, `${plan.job.file} goes on at line ${plan.line}${plan.layer ? `, layer ${plan.layer}` : ""}, ${plan.z_mm.toFixed(2)} mm high. `
        + "The printer homes X and Y, heats up, primes the nozzle and comes from above.");
      go.disabled = false;
    } catch (error) {
      if (mine === asked) text(words, error.message);
    }
  }

  async function begin() {
    const said = await api.post("printers/actions/Recover", { pid: p.id, layerd: { ...wish(), confirm: true, wait: true, start_id: api.startId() } }, 900000);
    if (!said.status) throw new api.Refused(200, said.message);
    toast(`${p.name} goes on.`);
    dialog.close();
  }

  for (const input of [layer, height]) input.addEventListener("change", look);
  dialog.addEventListener("close", () => { asked++; dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
  look();
}
