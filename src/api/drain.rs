//! `agent/Drain`: finish what prints, start nothing new.

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::Api;
use super::envelope::Problem;
use super::incoming::Json;

use crate::json::json;

/// Takes `{"on": true}` or `{"on": false}`. A restart of the daemon ends it too.
pub async fn drain(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let on = body
        .switch("on")?
        .ok_or_else(|| Problem::bad("`on` must be true or false."))?;
    api.agent.drain(on);
    tracing::info!(
        on,
        "drain: new prints are {}",
        if on { "refused" } else { "taken" }
    );
    Ok(Answer(json!({"status": true, "message": null, "draining": on})))
}
