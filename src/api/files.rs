//! `files/Upload` and `files/ListExisting`.

use axum::Json;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::envelope::Problem;
use super::view::rfc3339;
use crate::job::spool::Incoming;
use crate::job::store::UploadRow;
use crate::printer::fault::Fault;

/// Longest text field of an upload.
const FIELD_MAX: usize = 4096;

impl Api {
    /// Hash and name of a stored file, by its id or its hash.
    pub(super) async fn stored(&self, id: &str) -> Result<(String, String), Problem> {
        match self.agent.spool().file(id).await {
            Some(row) => Ok((row.sha256, row.name)),
            None => Err(Problem::said(
                "The file was not found. Upload it first (files/Upload).",
            )),
        }
    }
}

/// Takes a file, whole or in parts. Starts nothing.
pub async fn upload(State(api): State<Api>, mut form: Multipart) -> Result<Json<Value>, Problem> {
    let (mut total, mut incoming): (Option<u64>, Option<Incoming>) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(|e| broken(&e))? {
        match field.name().unwrap_or_default() {
            "totalSize" => {
                let text = short_text(&mut field).await?;
                total = Some(
                    text.trim()
                        .parse()
                        .map_err(|_| bad("`totalSize` must be a number of bytes."))?,
                );
            }
            "continueToken" => {
                let token = short_text(&mut field).await?;
                let open = api.uploads.take(token.trim());
                let open = open.ok_or_else(|| Problem::said("This upload has expired. Begin again."))?;
                (total, incoming) = (Some(open.total), Some(open.incoming));
            }
            "file" => {
                let mut to = match incoming.take() {
                    Some(begun) => begun,
                    None => {
                        let name = field.file_name().unwrap_or("unnamed.gcode").to_owned();
                        api.agent.spool().incoming(&name, total).await.map_err(fault)?
                    }
                };
                while let Some(chunk) = field.chunk().await.map_err(|e| broken(&e))? {
                    to.write(chunk).await.map_err(fault)?;
                }
                incoming = Some(to);
            }
            // Fields of other clients are not ours to refuse.
            _ => {}
        }
    }
    let incoming = incoming.ok_or_else(|| bad("The request holds no field `file`."))?;
    let have = incoming.written();
    match total {
        Some(total) if have > total => Err(bad(format!("{have} bytes came, but `totalSize` is {total}."))),
        Some(total) if have < total => {
            let token = api.uploads.keep(incoming, total);
            Ok(Json(
                json!({"status": true, "message": null, "continueToken": token}),
            ))
        }
        _ => {
            let row = incoming.finish().await.map_err(fault)?;
            Ok(Json(json!({"status": true, "message": null, "file": file(&row)})))
        }
    }
}

/// Files that are here.
pub async fn list(State(api): State<Api>) -> Json<Value> {
    let files: Vec<Value> = api.agent.spool().files().await.iter().map(file).collect();
    Json(json!({"status": true, "message": null, "files": files}))
}

/// Both spellings of the dates are documented.
fn file(row: &UploadRow) -> Value {
    let (uploaded, expires) = (rfc3339(row.uploaded), rfc3339(row.expires));
    json!({
        "id": row.id,
        "sha256": row.sha256,
        "name": row.name,
        "size": row.size,
        "uploaded": uploaded,
        "uploaded_at": uploaded,
        "expires": expires,
        "expires_at": expires,
    })
}

async fn short_text(field: &mut axum::extract::multipart::Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|e| broken(&e))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FIELD_MAX {
            return Err(bad("A text field of the upload is too long."));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn bad(message: impl Into<String>) -> Problem {
    Problem::with(StatusCode::BAD_REQUEST, message)
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Problem {
    Problem::with(
        error.status(),
        format!("The upload could not be read: {}", error.body_text()),
    )
}

fn fault(fault: Fault) -> Problem {
    Problem::said(fault.to_string())
}
