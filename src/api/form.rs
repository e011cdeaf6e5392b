//! Forms with files, part by part. Every wait for the client has an end: whoever stops sending holds neither
//! a connection nor a place among the uploads.

use std::time::Duration;

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;

use super::envelope::Problem;

/// Most parts in a form; slicers send four.
pub(super) const FIELDS_MAX: usize = 32;

/// Longest part beside the file, bytes: names of folders, tokens.
const FIELD_MAX_BYTES: usize = 4 << 10;

/// Longest silence between two parts, and within a short one.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a refused upload may go on.
const HEAR_OUT: Duration = Duration::from_secs(20);

/// The next part; `None` behind the last.
pub async fn next(form: &mut Multipart) -> Result<Option<Field<'_>>, Problem> {
    match tokio::time::timeout(SILENCE, form.next_field()).await {
        Ok(next) => next.map_err(|e| broken(&e)),
        Err(_) => Err(slow()),
    }
}

/// A short part as text. ([`Field::text`] would link the tables of every old encoding into the program.)
pub async fn text(mut field: Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunk(&mut field).await? {
        if bytes.len().saturating_add(chunk.len()) > FIELD_MAX_BYTES {
            return Err(Problem::bad("A field of the form is too long."));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A part that nobody wants. How much it may be is bounded for every request.
pub async fn pass_over(mut field: Field<'_>) -> Result<(), Problem> {
    while chunk(&mut field).await?.is_some() {}
    Ok(())
}

async fn chunk(field: &mut Field<'_>) -> Result<Option<bytes::Bytes>, Problem> {
    match tokio::time::timeout(SILENCE, field.chunk()).await {
        Ok(chunk) => chunk.map_err(|e| broken(&e)),
        Err(_) => Err(slow()),
    }
}

/// Reads what is left of a refused form: a client that still sends when the connection closes never sees
/// the answer. Who sends nothing, or longer than that for nothing, is cut off.
pub async fn heard_out(form: &mut Multipart, problem: Problem) -> Problem {
    if problem.status != StatusCode::REQUEST_TIMEOUT {
        let rest = async { while let Ok(Some(_)) = form.next_field().await {} };
        let _ = tokio::time::timeout(HEAR_OUT, rest).await;
    }
    problem
}

/// A form that cannot be read on: too large, or broken off.
pub(super) fn broken(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return super::uploads::too_large();
    }
    Problem::bad("The form is damaged or broke off.")
}

fn slow() -> Problem {
    Problem::with(
        StatusCode::REQUEST_TIMEOUT,
        "The upload stood still and was ended. Send the file again.",
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::extract::{FromRequest, Request};
    use axum::http::header;
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;

    use super::*;

    /// A form of which this arrives, and then nothing for ever.
    async fn stalled(begin: &'static str) -> Multipart {
        let first = stream::iter([Ok::<_, Infallible>(begin)]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let request = Request::builder()
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(body)
            .expect("a request");
        Multipart::from_request(request, &()).await.expect("a form")
    }

    const FIELD: &str = "--b\r\nContent-Disposition: form-data; name=\"totalSize\"\r\n\r\n1";

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_sending_is_cut_off_wherever_that_is() {
        for begin in ["", "--b\r\nContent-Disp", FIELD] {
            let began = Instant::now();
            let mut form = stalled(begin).await;
            let problem = match next(&mut form).await {
                Err(problem) => problem,
                Ok(field) => text(field.expect("a part")).await.expect_err("it never ends"),
            };
            assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT, "{begin:?}");
            heard_out(&mut form, problem).await;
            assert!(began.elapsed() <= SILENCE * 2, "{begin:?}: {:?}", began.elapsed());
        }
        let mut form = stalled(FIELD).await;
        let field = next(&mut form).await.expect("in time").expect("a part");
        let problem = pass_over(field).await.expect_err("it never ends");
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_form_is_heard_out_for_a_while_only() {
        let began = Instant::now();
        let mut form = stalled(FIELD).await;
        heard_out(&mut form, Problem::bad("No.")).await;
        assert_eq!(began.elapsed(), HEAR_OUT);
    }
}
