//! What the running daemon tells: its printers, their journals and raw traffic, its figures.

use std::time::Duration;

use serde_json::Value;

use super::archive::{Archive, plain};
use super::pretty;
use crate::cli::Globals;
use crate::cli::client::Client;
use crate::cli::exit::Failure;

/// How long one answer may take: a daemon that hangs is a reason for a report.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long all of them may take.
const ALL_LIMIT: Duration = Duration::from_secs(60);

/// Adds what the daemon tells, and returns whether it answers.
pub async fn gather(globals: &Globals, blind: &[String], archive: &mut Archive) -> bool {
    let answered = async {
        let client = globals.client()?;
        let health = client.top("healthz", ANSWER_LIMIT).await?;
        Ok::<_, Failure>((client, health))
    };
    let (client, health) = match answered.await {
        Ok(both) => both,
        Err(failure) => {
            let words = format!("{failure}\n");
            archive.add("daemon.txt", "why the daemon did not answer", words);
            return false;
        }
    };
    archive.add("daemon.txt", "health of the daemon", health + "\n");
    if !blind.is_empty() {
        return true;
    }
    if tokio::time::timeout(ALL_LIMIT, ask(&client, archive))
        .await
        .is_err()
    {
        let words = format!(
            "The daemon took more than {} s for its answers.\n",
            ALL_LIMIT.as_secs()
        );
        archive.add("daemon-slow.txt", "the daemon was too slow", words);
    }
    true
}

async fn ask(client: &Client, archive: &mut Archive) {
    let metrics = client.top("metrics", ANSWER_LIMIT).await;
    archive.add(
        "metrics.txt",
        "figures of the daemon",
        metrics.unwrap_or_else(|e| e.to_string()),
    );
    let rows = match tokio::time::timeout(ANSWER_LIMIT, client.rows()).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(failure)) => {
            archive.add("printers.json", "why there is no status", format!("{failure}\n"));
            return;
        }
        Err(_) => {
            let words = "The daemon did not list its printers in time.\n".to_owned();
            archive.add("printers.json", "why there is no status", words);
            return;
        }
    };
    archive.add(
        "printers.json",
        "status of printers and upstreams",
        pretty(&Value::Array(rows.clone())),
    );
    for row in &rows {
        let Some(name) = row.pointer("/layerd/name").and_then(Value::as_str) else {
            continue;
        };
        let Some(id) = row.pointer("/layerd/id").and_then(Value::as_i64) else {
            continue;
        };
        let (id, folder) = (id.to_string(), format!("printers/{}", plain(name)));
        for (wire, file, what) in [
            ("0", "journal.txt", "what happened to the printer"),
            ("1", "wire.txt", "its last raw traffic"),
        ] {
            let query = [("pid", id.as_str()), ("wire", wire)];
            let text = match client.get("printers/GetLogs", &query, ANSWER_LIMIT).await {
                Ok(answer) => lines(&answer),
                Err(failure) => format!("{failure}\n"),
            };
            archive.add(&format!("{folder}/{file}"), what, text);
        }
    }
}

fn lines(answer: &Value) -> String {
    let lines = answer.get("lines").and_then(Value::as_array);
    let mut text = String::new();
    for line in lines.map_or(&[][..], Vec::as_slice) {
        text.push_str(line.as_str().unwrap_or_default());
        text.push('\n');
    }
    text
}
