//! `printers/GetCounters`, `printers/MarkService`: what printers have done in all, and since a service.

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::envelope::Problem;
use super::incoming::{Json, Params};
use super::{Api, jobs, pid};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::json::json;

/// `?pid=`: of these printers; without it of all.
pub async fn get(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = match params.text("pid") {
        Some(text) => api.printers(&pid::pids(Some(text), &Value::Null)?)?,
        None => api.agent.printers(),
    };
    let mut rows = Vec::with_capacity(printers.len());
    for printer in &printers {
        rows.push(row(&api, printer).await?);
    }
    Ok(Answer(json!({"status": true, "message": null, "data": rows})))
}

/// Notes that these printers were serviced now.
pub async fn mark_service(
    State(api): State<Api>,
    params: Params,
    body: Json,
) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &body.0)?)?;
    let mut rows = Vec::with_capacity(printers.len());
    for printer in &printers {
        let marked = api
            .agent
            .store()
            .mark_service(printer.id(), printer.name(), clock::now().wall)
            .await;
        marked.map_err(jobs::database)?;
        rows.push(row(&api, printer).await?);
    }
    Ok(Answer(json!({"status": true, "message": null, "data": rows})))
}

/// Counts that only grow, and what of them came since the last service.
async fn row(api: &Api, printer: &PrinterHandle) -> Result<Value, Problem> {
    let store = api.agent.store();
    let counters = store.counters(printer.name()).await.map_err(jobs::database)?;
    let mark = store.service_mark(printer.id()).await.map_err(jobs::database)?;
    let service =
        mark.map(|mark| json!({"at": mark.at.to_string(), "since": counters.since(&mark.counters)}));
    let beds = printer.snapshot().state.bed_cycle.map(|cycle| cycle.cleared);
    Ok(json!({
        "id": printer.id(),
        "name": printer.name(),
        "counters": counters,
        "beds_cleared": beds,
        "service": service,
    }))
}
