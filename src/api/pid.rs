//! `pid` travels three ways: in the query (one, or several with commas), and in the body as a number,
//! a text or a list. All of them are accepted.

use axum::http::StatusCode;
use serde_json::Value;

use super::envelope::Problem;

/// Most printers named in one request.
const PIDS_MAX: usize = 1000;

/// The printers that a request names.
pub fn pids(query: Option<&str>, body: &Value) -> Result<Vec<i64>, Problem> {
    let mut out = Vec::new();
    if let Some(text) = query {
        parse_text(text, &mut out)?;
    } else {
        match body.get("pid") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => list.iter().try_for_each(|v| parse_value(v, &mut out))?,
            Some(value) => parse_value(value, &mut out)?,
        }
    }
    if out.is_empty() {
        return Err(Problem::with(
            StatusCode::BAD_REQUEST,
            "No printer was named: give `pid`.",
        ));
    }
    if out.len() > PIDS_MAX {
        return Err(Problem::with(
            StatusCode::BAD_REQUEST,
            "Too many printers in one request.",
        ));
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

fn parse_value(value: &Value, out: &mut Vec<i64>) -> Result<(), Problem> {
    match value {
        Value::Number(n) => n
            .as_i64()
            .filter(|id| *id > 0)
            .map(|id| out.push(id))
            .ok_or_else(|| bad(&n.to_string())),
        Value::String(text) => parse_text(text, out),
        other => Err(bad(&other.to_string())),
    }
}

fn parse_text(text: &str, out: &mut Vec<i64>) -> Result<(), Problem> {
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let id = part.parse().ok().filter(|id| *id > 0);
        out.push(id.ok_or_else(|| bad(part))?);
    }
    Ok(())
}

fn bad(text: &str) -> Problem {
    let text: String = text.chars().take(40).collect();
    Problem::with(
        StatusCode::BAD_REQUEST,
        format!("`pid` must be a printer's number, not {text:?}."),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_name_the_same_printers() {
        let forms = [
            pids(Some("2,1"), &Value::Null),
            pids(None, &json!({"pid": [1, 2]})),
            pids(None, &json!({"pid": ["1", 2, 2]})),
            pids(None, &json!({"pid": "1, 2"})),
        ];
        for form in forms {
            assert_eq!(form.expect("accepted"), [1, 2]);
        }
        assert_eq!(pids(None, &json!({"pid": 7})).expect("accepted"), [7]);
    }

    #[test]
    fn nonsense_is_named() {
        assert!(
            pids(Some("x"), &Value::Null)
                .expect_err("refused")
                .message
                .contains("\"x\"")
        );
        assert!(pids(None, &json!({})).is_err());
        assert!(pids(None, &json!({"pid": {"a": 1}})).is_err());
        assert!(pids(None, &json!({"pid": 1.5})).is_err());
    }
}
