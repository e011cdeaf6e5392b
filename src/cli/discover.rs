//! `layerd discover`: what is connected, with configuration to paste.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::Globals;
use super::client::block_on;
use super::exit::{Done, Exit};
use super::out;
use crate::drivers::{Factory, Found, REGISTRY};
use crate::json::json;

/// How long one family may look around.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Arguments of `discover`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Look at these addresses only, instead of listening to the network
    #[arg(value_name = "ADDRESS")]
    hosts: Vec<String>,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    // All families at once: each of them mostly waits.
    let looks = REGISTRY.iter().map(|factory| async {
        let work = async {
            if args.hosts.is_empty() {
                return factory.probe().await;
            }
            let each = args.hosts.iter().map(|host| factory.probe_at(host));
            join_all(each).await.into_iter().flatten().collect()
        };
        let found = tokio::time::timeout(PROBE_LIMIT, work).await;
        (*factory, found.unwrap_or_default())
    });
    let found = block_on(join_all(looks))?;
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
