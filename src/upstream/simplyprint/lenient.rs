//! Reading JSON of others: booleans come as 0/1, numbers as texts, empty maps as empty lists.

use serde_json::{Map, Value};

/// A boolean in any of the forms seen.
pub fn boolean(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(on) => Some(*on),
        Value::Number(n) => n.as_f64().map(|n| n != 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(true),
            "0" | "false" | "no" | "off" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A whole number, also as text or with a fraction of zero.
pub fn whole(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(n) => n.as_i64().or_else(|| {
            let n = n.as_f64()?;
            #[allow(clippy::cast_possible_truncation, reason = "within the exact range of f64")]
            (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A number, also as text.
pub fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|n: &f64| n.is_finite())
}

/// A text that is not empty, no longer than `max` characters; longer ones are absent, not cut.
pub fn text(value: Option<&Value>, max: usize) -> Option<String> {
    let text = value?.as_str()?;
    (!text.is_empty() && text.chars().count() <= max).then(|| text.to_owned())
}

/// An identity: a text or a number.
pub fn id_text(value: &Value, max: usize) -> Option<String> {
    match value {
        Value::Number(n) => Some(n.to_string()),
        Value::String(text) if !text.is_empty() && text.chars().count() <= max => Some(text.clone()),
        _ => None,
    }
}

/// The members of an object; anything else counts as empty.
pub fn members(value: Option<&Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members.clone(),
        _ => Map::new(),
    }
}

/// The elements of a list, at most `max`; anything else counts as empty.
pub fn list(value: Option<&Value>, max: usize) -> &[Value] {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.get(..max.min(list.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_of_others_are_understood_and_nonsense_is_absent() {
        for (value, want) in [
            (json!(true), Some(true)),
            (json!(0), Some(false)),
            (json!("1"), Some(true)),
            (json!("maybe"), None),
            (json!(null), None),
            (json!([]), None),
        ] {
            assert_eq!(boolean(Some(&value)), want, "{value}");
        }
        assert_eq!(whole(Some(&json!("12"))), Some(12));
        assert_eq!(whole(Some(&json!(12.0))), Some(12));
        assert_eq!(whole(Some(&json!(12.5))), None);
        assert_eq!(whole(Some(&json!(1e300))), None);
        assert_eq!(text(Some(&json!("abc")), 2), None);
        assert_eq!(list(Some(&json!([1, 2, 3])), 2).len(), 2);
        assert!(members(Some(&json!([]))).is_empty());
    }
}
