// What a printer has printed, newest first.

import { h, keyed, pressed, text } from "./dom.js";
import * as api from "./api.js";
import * as words from "./words.js";

const PAGE = 8;

/** A card; `refresh()` after a job began or ended. `again(job)`: print it again. */
export function card(pid, again) {
  const list = h("ol", { class: "history" });
  const more = h("button", { type: "button", class: "plain", hidden: true, onclick: () => pressed(more, () => load(pages + 1)) }, "Older prints");
  const note = h("p", { class: "quiet", role: "status" });
  const node = h("section", { class: "card", "aria-labelledby": `history${pid}` }, h("h2", { id: `history${pid}` }, "Prints so far"), note, list, more);
  let pages = 1;

  async function load(count) {
    const said = await api.post("jobs/GetPaginatedPrintJobs", { page: 1, page_size: Math.min(100, PAGE * count), printer_ids: [pid] });
    pages = count;
    text(note, said.total ? "" : "Nothing has been printed yet.");
    more.hidden = said.data.length >= said.total || said.data.length >= 100;
    keyed(list, JSON.stringify(said.data.map((j) => [j.uid, j.layerd.state, j.printTime])), () => said.data.map(row));
  }

  function row(job) {
    const [word, tone] = words.ended(job);
    const over = tone !== "busy";
    const meta = [
      job.startDate && words.clock(new Date(job.startDate)),
      over && job.printTime !== null && words.duration(job.printTime),
      job.filUsage && words.metres(job.filUsage),
      job.layerd.skipped.length && `${job.layerd.skipped.length} left out`,
    ].filter(Boolean).join(" · ");
    return h("li", {},
      h("span", { class: "mark" }, h("span", { class: "tag", "data-tone": tone }, word)),
      h("span", { class: "name", title: job.filename }, job.filename),
      over && job.layerd.sha256 && h("button", {
        type: "button", class: "plain again", "data-focus": job.uid, "aria-label": `Print ${job.filename} again`,
        onclick: () => again({ id: job.layerd.sha256, name: job.filename, reprint: job.uid }),
      }, "Again …"),
      h("span", { class: "meta small quiet num" }, meta),
      job.layerd.message && tone === "bad" && h("span", { class: "reason small" }, job.layerd.message));
  }

  const refresh = () => load(pages).catch((error) => text(note, error.message));
  refresh();
  return { node, refresh };
}
