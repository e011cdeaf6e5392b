//! `printers/GetPicture`: one picture of a printer's camera, as JPEG.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::envelope::Problem;
use super::incoming::Params;
use super::{Api, pid};
use crate::camera::faults;

/// `?pid=`: of one printer. `&live=1`: one of many in a live view, which is left out (503) when others are
/// being taken.
pub async fn picture(State(api): State<Api>, params: Params) -> Result<Response, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    let [printer] = printers.as_slice() else {
        return Err(Problem::bad("Pictures are given of one printer at a time."));
    };
    let bytes = printer.picture(params.is_on("live")).await.map_err(|fault| {
        let status = if fault.code == faults::NO_CAMERA.code {
            StatusCode::NOT_FOUND
        } else if fault.code == faults::BUSY.code {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_GATEWAY
        };
        let problem = Problem::with(status, fault.to_string());
        match fault.code {
            std::borrow::Cow::Borrowed(code) => problem.coded(code),
            std::borrow::Cow::Owned(_) => problem,
        }
    })?;
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    Ok((head, bytes).into_response())
}
