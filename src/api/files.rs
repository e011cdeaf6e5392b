//! `files/*`, and from a demand to an order: which stored file is meant.

use std::time::Instant;

use axum::Json as Answer;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::demand::{JobDemand, JobSource};
use super::envelope::Problem;
use super::form;
use super::incoming::Params;
use super::uploads::{Arrived, Head};
use super::{Api, jobs, view};
use crate::agent::handle::PrintOrder;
use crate::job::store::UploadRow;
use crate::json::json;
use crate::sorted;

/// `files/Upload`: one part of a file, or all of it. Uploading starts nothing.
pub async fn upload(
    State(api): State<Api>,
    params: Params,
    request: Request,
) -> Result<Answer<Value>, Problem> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
        Problem::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "An upload must be multipart/form-data with a part named `file`.",
        )
    })?;
    let head = Head {
        total: params.text("totalSize").map(size_of).transpose()?,
        token: params.text("continueToken").map(str::to_owned),
        whole: false,
    };
    match take(&api, &mut form, head).await {
        Ok(answer) => Ok(Answer(answer)),
        Err(problem) => Err(form::heard_out(&mut form, problem).await),
    }
}

/// Reads the form to its end.
async fn take(api: &Api, form: &mut Multipart, mut head: Head) -> Result<Value, Problem> {
    let mut arrived = None;
    for _ in 0..form::FIELDS_MAX {
        let Some(field) = form::next(form).await? else {
            let Some(arrived) = arrived else {
                return Err(Problem::bad("The form has no part named `file`."));
            };
            return Ok(match api.uploads.settle(arrived, &head, Instant::now()).await? {
                Arrived::Whole(row) => json!({"status": true, "message": null, "file": file(&row)}),
                Arrived::Partly(token) => json!({"status": true, "message": null, "continueToken": token}),
            });
        };
        match field.name().unwrap_or_default() {
            "totalSize" => head.total = Some(size_of(&form::text(field).await?)?),
            "continueToken" if arrived.is_some() => {
                return Err(Problem::bad(
                    "`continueToken` must stand before `file` in the form.",
                ));
            }
            "continueToken" => head.token = Some(form::text(field).await?.trim().to_owned()),
            "file" if arrived.is_some() => return Err(Problem::bad("One file at a time, please.")),
            "file" => {
                let taken = api
                    .uploads
                    .take(api.agent.spool(), &head, field, Instant::now())
                    .await;
                arrived = Some(taken?);
            }
            "fileId" => {
                return Err(Problem::said(
                    "Folders are kept in the cloud. The file stays here under the id that its upload answered.",
                )
                .coded("refused/cloud-only"));
            }
            // Unknown fields are passed over without being kept.
            _ => form::pass_over(field).await?,
        }
    }
    Err(Problem::bad("The form has too many parts."))
}

fn size_of(text: &str) -> Result<u64, Problem> {
    text.trim()
        .parse()
        .ok()
        .filter(|n| (1..=i64::MAX as u64).contains(n))
        .ok_or_else(|| Problem::bad("`totalSize` must be the size of the whole file in bytes."))
}

/// `files/ListExisting`. Both documented spellings of the dates are there.
pub async fn list(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let rows = api.files().await?;
    let files: Vec<Value> = rows.iter().map(file).collect();
    Ok(Answer(json!({"status": true, "message": null, "files": files})))
}

fn file(row: &UploadRow) -> Value {
    let (uploaded, expires) = (view::rfc3339(row.uploaded), view::rfc3339(row.expires));
    json!({
        "id": row.sha256,
        "name": row.name,
        "size": row.size,
        "uploaded": uploaded,
        "expires": expires,
        "uploaded_at": uploaded,
        "expires_at": expires,
    })
}

impl Api {
    /// The stored files, newest first.
    pub(super) async fn files(&self) -> Result<Vec<UploadRow>, Problem> {
        let mut rows = self.agent.store().uploads().await.map_err(jobs::database)?;
        sorted::by_key(&mut rows, |row| std::cmp::Reverse(row.uploaded));
        Ok(rows)
    }
}

/// Finds the file of a demand. The newest name of a content is the one that people know.
pub(super) async fn order(api: &Api, job: JobDemand) -> Result<PrintOrder, Problem> {
    let unknown =
        || Problem::said("The file is not here (any more). Upload it again.").coded("refused/unknown-file");
    let (sha256, name, plate) = match &job.source {
        JobSource::File(id) => {
            let rows = api.files().await?;
            let row = rows.into_iter().find(|row| row.sha256 == *id || row.id == *id);
            row.map(|row| (row.sha256, row.name, None)).ok_or_else(unknown)?
        }
        JobSource::JobNumber(_) | JobSource::JobUid(_) => {
            let record = jobs::find(api, &job.source).await?;
            let sha256 = record.sha256.ok_or_else(|| {
                Problem::said("The file of that print was never here: it was started at the printer.")
                    .coded("refused/unknown-file")
            })?;
            (sha256, record.file, record.plate)
        }
    };
    Ok(PrintOrder {
        sha256,
        name,
        skip: job.skip,
        materials: Vec::new(),
        plate: job.plate.or(plate),
        start_id: job.start_id,
    })
}
