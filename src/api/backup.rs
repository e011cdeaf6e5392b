//! `agent/Backup`: a copy of the database while it is in use. It holds credentials of upstreams: what may
//! ask for it is who may do everything.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use super::Api;
use super::envelope::Problem;

/// Sends a copy of the database; nothing is left on the disk afterwards.
pub async fn backup(State(api): State<Api>) -> Result<Response, Problem> {
    let name = format!("backup-{}.part", uuid::Uuid::new_v4().simple());
    let path = api.agent.state_dir().join(name);
    let copied = api.agent.store().copy_to(&path).await;
    let opened = match copied {
        Ok(()) => tokio::fs::File::open(&path).await.map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    // An open file outlives its name.
    let _ = tokio::fs::remove_file(&path).await;
    match opened {
        Ok(file) => {
            let body = Body::from_stream(ReaderStream::with_capacity(file, 64 << 10));
            Ok(([(CONTENT_TYPE, "application/vnd.sqlite3")], body).into_response())
        }
        Err(why) => Err(Problem::said(format!("The database could not be copied: {why}"))),
    }
}
