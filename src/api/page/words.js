// What states, times and quantities are called.

const PAUSED = {
  requested: "Paused", program: "Paused by the file", runout: "Paused: out of filament",
  filament_change: "Paused: change the filament", printer: "Paused at the printer", stopping: "Parked: layerd is stopping",
};

/** State of a printer as `[words, tone]`. */
export function state(p) {
  const job = p.job;
  switch (p.state) {
    case "operational": return p.bed_dirty ? ["Clear the bed", "warn"] : ["Ready", "good"];
    case "printing": return ["Printing", "busy"];
    case "pausing": return ["Pausing …", "busy"];
    case "paused": return [PAUSED[p.why] || "Paused", "warn"];
    case "resuming": return ["Resuming …", "busy"];
    case "cancelling": return ["Cancelling …", "busy"];
    case "downloading":
      if (job && job.held) return ["Waiting for the word to begin", "warn"];
      if (job && job.upload_percent !== null) return [`Sending the file: ${Math.floor(job.upload_percent)} %`, "busy"];
      return ["Checking the file …", "busy"];
    case "offline": return ["Offline", "off"];
    case "error": return ["Error", "bad"];
    case "not_ready": return ["Not ready", "warn"];
    default: return [p.state, "off"];
  }
}

/** A print is under way, whatever it does just now. */
export const inJob = (p) => ["printing", "pausing", "paused", "resuming", "cancelling"].includes(p.state);

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const all = Math.max(0, Math.round(seconds));
  const [d, hours, m] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (d) return `${d} d ${hours} h`;
  if (hours) return `${hours} h ${String(m).padStart(2, "0")} min`;
  if (m) return `${m} min`;
  return `${all} s`;
}

/** Time of day, with the day when it is not today. */
export function clock(date) {
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" })}, ${time}`;
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    count /= 1000;
    if (count < 1000 || unit === "GB") return `${count < 10 ? count.toFixed(1) : Math.round(count)} ${unit}`;
  }
  return "";
}

const HEATERS = { bed: "Bed", chamber: "Chamber", cooler: "Cooler", probe: "Probe", board: "Board", ambient: "Room", redundant: "Second sensor" };

/** Name of a heater; `many`: there is more than one nozzle. */
export function heater(name, many) {
  const tool = /^tool(\d+)$/.exec(name);
  if (tool) return many ? `Nozzle ${Number(tool[1]) + 1}` : "Nozzle";
  return HEATERS[name] || name;
}

/** Tools, bed, chamber, then the rest. */
export function heaters(temps) {
  const order = (n) => (n.startsWith("tool") ? 0 : n === "bed" ? 1 : n === "chamber" ? 2 : 3);
  return Object.keys(temps).sort((a, b) => order(a) - order(b) || a.localeCompare(b, "en", { numeric: true }));
}

/** The same colour for a heater everywhere. */
export function color(name) {
  const tool = /^tool(\d+)$/.exec(name);
  if (tool) return ["--c0", "--c2", "--c4", "--c5"][Number(tool[1]) % 4];
  return { bed: "--c1", chamber: "--c3" }[name] || "--soft";
}

export const degrees = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)}`);

export const metres = (mm) => (mm >= 1000 ? `${(mm / 1000).toFixed(mm < 10000 ? 2 : 1)} m` : `${Math.round(mm)} mm`);

/** How a job ended, as `[words, tone]`. */
export function ended(job) {
  switch (job.layerd && job.layerd.state) {
    case "done": return ["Done", "good"];
    case "cancelled": return ["Cancelled", ""];
    case "failed": return ["Failed", "bad"];
    case "interrupted": return ["Stopped", "bad"];
    default: return ["Running", "busy"];
  }
}
