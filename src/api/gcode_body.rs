//! The G-code of a `SendGcode` request: a text, a list of lines, or a macro.

use serde_json::Value;

use super::demand::NAME_MAX;
use super::envelope::Problem;
use super::macros;
use crate::config::template::Moment;
use crate::printer::guard::{GCODE_LINE_MAX, GCODE_LINES_MAX};

/// Longest single feed of the macros, mm.
const FEED_MAX_MM: f64 = 200.0;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These lines.
    Lines(Vec<String>),
    /// A text of `[snippets]`, by number or name.
    Snippet(String),
    /// The owner's own lines of a moment.
    Moment(Moment),
}

/// What a request wants to be sent. Order of preference as documented: `snippet_id`, `gcode`, `macro`.
///
/// # Errors
/// Limits passed, wrong types, nothing left to send.
pub fn wanted(body: &Value) -> Result<Wanted, Problem> {
    match body.get("snippet_id") {
        None | Some(Value::Null) => {}
        Some(Value::Number(n)) if n.is_u64() => return Ok(Wanted::Snippet(n.to_string())),
        Some(Value::String(name)) if (1..=NAME_MAX).contains(&name.chars().count()) => {
            return Ok(Wanted::Snippet(name.clone()));
        }
        Some(_) => {
            return Err(Problem::bad(
                "`snippet_id` must be the number or name of a snippet.",
            ));
        }
    }
    if body.get("gcode").is_none_or(Value::is_null)
        && let Some(moment) = body.get("macro").and_then(Value::as_str).and_then(macros::moment)
    {
        return Ok(Wanted::Moment(moment));
    }
    lines(body).map(Wanted::Lines)
}

/// The lines to send, in order: without comments, blank lines and `@` lines (those are for hosts). `gcode`
/// is documented once as a list and once as a text; both are taken.
fn lines(body: &Value) -> Result<Vec<String>, Problem> {
    let raw: Vec<&str> = match body.get("gcode") {
        None | Some(Value::Null) => return macro_lines(body),
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(list)) => entries(list)?,
        Some(_) => return Err(Problem::bad("`gcode` must be a text or a list of texts.")),
    };
    let lines: Vec<String> = raw
        .into_iter()
        .flat_map(|text| text.split(['\n', '\r']))
        .map(|line| line.split(';').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Problem::bad("`gcode` holds nothing to send."));
    }
    if lines.len() > GCODE_LINES_MAX {
        return Err(too_many(lines.len()));
    }
    if let Some(at) = lines.iter().position(|l| l.chars().count() > GCODE_LINE_MAX) {
        return Err(too_long(at));
    }
    Ok(lines)
}

fn entries(list: &[Value]) -> Result<Vec<&str>, Problem> {
    if list.is_empty() || list.len() > GCODE_LINES_MAX {
        return Err(too_many(list.len()));
    }
    let mut out = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let Some(text) = value.as_str() else {
            return Err(Problem::bad(format!(
                "Entry {} of `gcode` is not a text.",
                at + 1
            )));
        };
        if text.chars().count() > GCODE_LINE_MAX {
            return Err(too_long(at));
        }
        out.push(text);
    }
    Ok(out)
}

fn too_many(count: usize) -> Problem {
    Problem::bad(format!(
        "`gcode` takes 1 to {GCODE_LINES_MAX} lines; this request has {count}."
    ))
    .coded("refused/too-many-lines")
}

fn too_long(at: usize) -> Problem {
    Problem::bad(format!(
        "Line {} of `gcode` is longer than {GCODE_LINE_MAX} characters.",
        at + 1
    ))
    .coded("refused/line-too-long")
}

/// The macros whose names are documented, in the words that every supported firmware knows.
fn macro_lines(body: &Value) -> Result<Vec<String>, Problem> {
    let Some(name) = body.get("macro").and_then(Value::as_str) else {
        return Err(Problem::bad(
            "Give `gcode` as a text or a list of lines, or `macro`.",
        ));
    };
    let context = body.get("macro_context").unwrap_or(&Value::Null);
    match name {
        "home" => Ok(vec![format!("G28{}", axes(context)?)]),
        "extrude" => feed(context, ""),
        "retract" => feed(context, "-"),
        "disable_motors" => Ok(vec!["M84".to_owned()]),
        _ => Err(Problem::bad(
            "`macro` takes home, extrude, retract, disable_motors, and is_start and its like.",
        )),
    }
}

fn axes(context: &Value) -> Result<String, Problem> {
    let bad = || Problem::bad("`axes` must name some of X, Y and Z.");
    let text: String = match context.get("axes") {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| v.as_str().ok_or_else(bad))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(bad()),
    };
    let mut out = String::new();
    for letter in text.chars().filter(|c| !matches!(c, ',' | ' ')) {
        match letter.to_ascii_uppercase() {
            axis @ ('X' | 'Y' | 'Z') => out.extend([' ', axis]),
            _ => return Err(bad()),
        }
    }
    Ok(out)
}

fn feed(context: &Value, sign: &str) -> Result<Vec<String>, Problem> {
    let number = |key: &str, default: f64, most: f64| match context.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .or_else(|| value.as_str().and_then(|t| t.trim().parse().ok()))
            .filter(|n| *n > 0.0 && *n <= most)
            .ok_or_else(|| Problem::bad(format!("`{key}` must be above 0 and at most {most}."))),
    };
    let amount_mm = number("amount", 10.0, FEED_MAX_MM)?;
    let speed_mm_min = number("speed", 300.0, 6000.0)?;
    Ok(vec![
        "M83".to_owned(),
        format!("G1 E{sign}{amount_mm} F{speed_mm_min}"),
        "M82".to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_and_a_list_give_the_same_clean_lines() {
        let want = ["G28 X", "M104 S200", "G1 X1"];
        let text = json!({"gcode": "G28 X ; home\r\n\n;only words\n@pause\nM104 S200\nG1 X1"});
        let list = json!({"gcode": ["G28 X ; home", "", "; only words", "@pause", "M104 S200\nG1 X1"]});
        assert_eq!(lines(&text).expect("text"), want);
        assert_eq!(lines(&list).expect("list"), want);
    }

    #[test]
    fn limits_hold_to_the_line_and_the_character() {
        let list = |n: usize| json!({"gcode": vec!["M105"; n]});
        let text = |n: usize| json!({"gcode": "M105\n".repeat(n)});
        let long = |n: usize| json!({"gcode": ["M117 ".to_owned() + &"ü".repeat(n - 5)]});
        for (body, fine) in [
            (list(0), false),
            (list(1), true),
            (list(200), true),
            (list(201), false),
            (text(0), false),
            (text(200), true),
            (text(201), false),
            (long(500), true),
            (long(501), false),
        ] {
            let result = lines(&body);
            assert_eq!(result.is_ok(), fine, "{result:?}");
        }
        assert_eq!(
            lines(&list(201)).expect_err("many").code,
            "refused/too-many-lines"
        );
        assert_eq!(lines(&long(501)).expect_err("long").code, "refused/line-too-long");
    }

    #[test]
    fn macros_speak_plain_g_code() {
        let sent = |name: &str, context: Value| lines(&json!({"macro": name, "macro_context": context}));
        assert_eq!(sent("home", Value::Null).expect("home"), ["G28"]);
        assert_eq!(
            sent("home", json!({"axes": ["x", "Z"]})).expect("home"),
            ["G28 X Z"]
        );
        assert_eq!(
            sent("retract", json!({"amount": 2.5})).expect("retract"),
            ["M83", "G1 E-2.5 F300", "M82"]
        );
        assert_eq!(sent("disable_motors", Value::Null).expect("off"), ["M84"]);
        assert!(sent("extrude", json!({"amount": 200.1})).is_err());
        assert!(sent("home", json!({"axes": "XE\nM112"})).is_err());
        assert!(sent("explode", Value::Null).is_err());
    }

    #[test]
    fn a_snippet_goes_before_gcode_and_that_before_a_macro() {
        assert_eq!(
            lines(&json!({"gcode": "M105", "macro": "home"})).expect("gcode"),
            ["M105"]
        );
        let all = json!({"snippet_id": 3, "gcode": "M105", "macro": "is_pause"});
        assert_eq!(wanted(&all), Ok(Wanted::Snippet("3".to_owned())));
        assert_eq!(
            wanted(&json!({"gcode": "M105", "macro": "is_pause"})),
            Ok(Wanted::Lines(vec!["M105".to_owned()]))
        );
        assert_eq!(
            wanted(&json!({"macro": "is_pause"})),
            Ok(Wanted::Moment(Moment::Pause))
        );
        for nonsense in [json!(-1), json!(""), json!([3]), json!("x".repeat(256))] {
            assert!(wanted(&json!({"snippet_id": nonsense, "gcode": "M105"})).is_err());
        }
        assert!(lines(&json!({"gcode": 7})).is_err());
        assert!(lines(&json!({"gcode": ["M105", 7]})).is_err());
        assert!(lines(&Value::Null).is_err());
    }
}
