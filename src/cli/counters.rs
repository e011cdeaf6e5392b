//! `layerd counters [PRINTER]`: hours, prints and filament of printers, in all and since their service.

use serde_json::Value;

use super::Globals;
use super::client::{QUICK, block_on};
use super::exit::{Done, Exit, Failure};
use super::out;

use crate::json::json;

/// Arguments of `counters`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer; all of them without it
    printer: Option<String>,
    /// The printer was serviced: count from now on beside what is counted in all
    #[arg(long, requires = "printer")]
    service: bool,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        let pid = match &args.printer {
            Some(name) => Some(client.printer(name).await?.id.to_string()),
            None => None,
        };
        let query: Vec<(&str, &str)> = pid.iter().map(|pid| ("pid", pid.as_str())).collect();
        let answer = if args.service {
            client
                .post("printers/MarkService", &query, &json!({}), QUICK)
                .await?
        } else {
            client.get("printers/GetCounters", &query, QUICK).await?
        };
        let rows = answer
            .get("data")
            .and_then(Value::as_array)
            .ok_or_else(|| Failure::new("The daemon answered without counters."))?;
        if globals.json {
            out::json(&json!(rows));
        } else {
            for line in table(rows) {
                out::line(line);
            }
        }
        Ok(Exit::Good)
    })?
}

fn table(rows: &[Value]) -> Vec<String> {
    let mut lines = vec![line(&[
        "PRINTER",
        "HOURS",
        "STARTED",
        "DONE",
        "FAILED",
        "CANCELLED",
        "FILAMENT",
    ])];
    for row in rows {
        let name = out::clean(row.get("name").and_then(Value::as_str).unwrap_or("?"));
        lines.push(counted(&name, row.get("counters")));
        if let Some(since) = row.pointer("/service/since") {
            let at = row
                .pointer("/service/at")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let day = at.get(..10).unwrap_or(at);
            lines.push(counted(&format!("  since {day}"), Some(since)));
        }
    }
    lines
}

fn counted(name: &str, counters: Option<&Value>) -> String {
    let number = |key: &str| {
        let value = counters.and_then(|c| c.get(key));
        value.and_then(Value::as_f64).unwrap_or(0.0)
    };
    line(&[
        name,
        &format!("{:.1}", number("print_s") / 3600.0),
        &number("started").to_string(),
        &number("completed").to_string(),
        &number("failed").to_string(),
        &number("cancelled").to_string(),
        &format!("{:.1} m", number("filament_mm") / 1000.0),
    ])
}

fn line(cells: &[&str; 7]) -> String {
    let [name, rest @ ..] = cells;
    let rest: String = rest.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{name:<20}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_metres_and_what_came_since_the_service() {
        let counters = json!({"print_s": 5400, "started": 12, "completed": 9, "failed": 1, "cancelled": 2, "filament_mm": 12345.0});
        let since = json!({"print_s": 360, "started": 1, "completed": 1, "failed": 0, "cancelled": 0, "filament_mm": 1000.0});
        let rows = [
            json!({"name": "ender3", "counters": counters, "service": {"at": "2026-03-01T10:00:00Z", "since": since}}),
        ];
        let lines = table(&rows);
        let words: Vec<Vec<&str>> = lines.iter().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["ender3", "1.5", "12", "9", "1", "2", "12.3", "m"]);
        assert_eq!(
            words[2],
            ["since", "2026-03-01", "0.1", "1", "1", "0", "0", "1.0", "m"]
        );
    }
}
