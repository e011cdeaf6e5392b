//! An upload by a slicer: read, kept, and started where the form asks for it.

use std::time::{Duration, Instant};

use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;

use super::told;
use crate::agent::handle::{PrintOrder, PrinterHandle};
use crate::api::Api;
use crate::api::access::{Caller, Scope};
use crate::api::envelope::Problem;
use crate::api::form;
use crate::api::uploads::{Arrived, Head};
use crate::job::file_name;
use crate::job::store::UploadRow;

/// How long a start may take to pass its pre-flight before the slicer is told that it goes on alone.
const ACCEPT_LIMIT: Duration = Duration::from_secs(110);

/// A form that was read to its end; its file is kept.
pub struct Form {
    /// The file.
    pub row: UploadRow,
    /// It is to be printed.
    pub print: bool,
    /// Which plate of a project, from 1.
    pub plate: Option<u32>,
}

/// How a start went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Checked and durable.
    Started,
    /// The check of a big file goes on.
    Checking,
}

/// Reads a form. What stands beside the file may stand before or behind it.
pub async fn read(api: &Api, request: Request) -> Result<Form, Problem> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
        Problem::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "This address takes files from slicers: a form with a part named \"file\".",
        )
    })?;
    let head = Head {
        whole: true,
        ..Head::default()
    };
    match take(api, &mut form, &head).await {
        Ok(form) => Ok(form),
        Err(problem) => Err(form::heard_out(&mut form, problem).await),
    }
}

async fn take(api: &Api, form: &mut Multipart, head: &Head) -> Result<Form, Problem> {
    let (mut arrived, mut print, mut plate) = (None, false, None);
    for _ in 0..form::FIELDS_MAX {
        let Some(field) = form::next(form).await? else {
            let Some(arrived) = arrived else {
                return Err(Problem::bad("The upload holds no file."));
            };
            let settled = api.uploads.settle(arrived, head, Instant::now()).await;
            let Arrived::Whole(row) = settled.map_err(told)? else {
                return Err(Problem::bad("The upload broke off. Send the file again."));
            };
            return Ok(Form { row, print, plate });
        };
        match field.name().unwrap_or_default() {
            "file" if arrived.is_some() => return Err(Problem::bad("One file at a time, please.")),
            "file" => {
                let taken = api
                    .uploads
                    .take(api.agent.spool(), head, field, Instant::now())
                    .await;
                arrived = Some(taken.map_err(told)?);
            }
            "print" => print = is_on(&form::text(field).await?),
            "plateindex" => {
                let words = form::text(field).await?;
                let number = words.trim().parse().ok().filter(|n: &u32| *n > 0);
                plate = Some(number.ok_or_else(|| {
                    Problem::bad("The number of the plate cannot be read; plates count from 1.")
                })?);
            }
            // `path`, `root`, `select` and what else there may be: passed over without being kept.
            _ => drop(form::text(field).await?),
        }
    }
    Err(Problem::bad("The upload has too many fields."))
}

fn is_on(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "true" | "1" | "yes")
}

/// Starts a stored file. The reason of a refusal comes first: dialogs cut long sentences.
pub async fn start(
    caller: &Caller,
    printer: &PrinterHandle,
    row: &UploadRow,
    plate: Option<u32>,
) -> Result<Begun, Problem> {
    if !caller.may(Scope::Control) {
        return Err(Problem::with(
            StatusCode::FORBIDDEN,
            "Not printed: this key may bring files but start nothing. The file was uploaded and is kept.",
        ));
    }
    let order = PrintOrder {
        sha256: row.sha256.clone(),
        name: row.name.clone(),
        skip: Vec::new(),
        materials: Vec::new(),
        plate,
        start_id: None,
    };
    match tokio::time::timeout(ACCEPT_LIMIT, printer.print(order)).await {
        Ok(Ok((accepted, _))) => {
            tracing::info!(printer = printer.name(), job = %accepted.uid, "a slicer started a print");
            Ok(Begun::Started)
        }
        Ok(Err(refusal)) => {
            let why = refusal.message.trim_end().trim_end_matches('.');
            let told = format!(
                "Not printed: {why}. The file was uploaded and is kept; start it from layerd's page when this is settled."
            );
            Err(Problem::with(StatusCode::UNPROCESSABLE_ENTITY, told).coded(refusal.code))
        }
        Err(_) => Ok(Begun::Checking),
    }
}

/// The newest file of that name.
pub async fn stored(api: &Api, name: &str) -> Result<UploadRow, Problem> {
    let label = file_name::label(name);
    let files = api.agent.spool().files().await;
    files
        .into_iter()
        .find(|row| row.name == label)
        .ok_or_else(|| Problem::not_found(format!("{label} is not here (any more). Send the file again.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_prints() {
        for yes in ["true", "True", "1", " yes "] {
            assert!(is_on(yes), "{yes}");
        }
        for no in ["false", "", "0", "on?", "tru"] {
            assert!(!is_on(no), "{no}");
        }
    }
}
