//! `layerd discover`: what is connected, with configuration to paste.

use std::time::Duration;

use serde_json::{Value, json};

use super::Globals;
use super::client::block_on;
use super::exit::{Done, Exit};
use super::out;
use crate::drivers::{Factory, Found, REGISTRY};

/// How long one family may look around.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Runs the verb.
pub fn run(globals: &Globals) -> Done {
    let found = block_on(async {
        let mut all = Vec::new();
        for factory in REGISTRY {
            all.push((
                *factory,
                tokio::time::timeout(PROBE_LIMIT, factory.probe())
                    .await
                    .unwrap_or_default(),
            ));
        }
        all
    })?;
    if globals.json {
        let rows: Vec<Value> = found
            .iter()
            .flat_map(|(factory, list)| list.iter().map(|f| row(*factory, f)))
            .collect();
        out::json(&Value::Array(rows));
    } else {
        let any = found.iter().any(|(_, list)| !list.is_empty());
        for (_, list) in &found {
            for device in list {
                show(device);
            }
        }
        if !any {
            out::line("Nothing found. Is the printer switched on, and does its USB cable carry data?");
        }
    }
    Ok(Exit::Good)
}

fn row(factory: &dyn Factory, found: &Found) -> Value {
    json!({
        "driver": factory.kind(),
        "label": found.label,
        "config": found.config,
        "problem": found.problem.as_ref().map(|p| json!({"code": p.code, "message": p.to_string()})),
    })
}

fn show(found: &Found) {
    out::line(format!("# {}", out::clean(&found.label)));
    if let Some(problem) = &found.problem {
        out::line(format!("# {problem}"));
    }
    out::line(&found.config);
}
