//! What is said is what `fixtures/mqtt/schema.json` promises. As much of JSON Schema as stands in that file.

use serde_json::Value;

/// The definition for a topic.
fn definition(name: &str) -> Value {
    let text = include_str!("../../../fixtures/mqtt/schema.json");
    let schema: Value = serde_json::from_str(text).expect("JSON");
    schema["$defs"]
        .get(name)
        .unwrap_or_else(|| panic!("no definition of {name}"))
        .clone()
}

/// Panics with the place of the first mistake.
pub fn conforms(name: &str, value: &Value) {
    if let Err(mistake) = check(&definition(name), value, name) {
        panic!("{mistake}: {value}");
    }
}

fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    let good = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().expect("a text"))),
        _ => true,
    };
    if !good {
        return Err(format!("{at} is no {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at} is none of {}", schema["enum"]));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && text.parse::<jiff::Timestamp>().is_err()
    {
        return Err(format!("{at} is no time"));
    }
    if let Some(members) = value.as_object() {
        let wanted = schema["required"].as_array().into_iter().flatten();
        if let Some(missing) = wanted
            .into_iter()
            .find(|key| !members.contains_key(key.as_str().expect("a text")))
        {
            return Err(format!("{at} has no {missing}"));
        }
        for (key, member) in members {
            let inner = format!("{at}.{key}");
            match (schema["properties"].get(key), &schema["additionalProperties"]) {
                (Some(property), _) => check(property, member, &inner)?,
                (None, Value::Bool(false)) => return Err(format!("{inner} is not in the schema")),
                (None, Value::Object(_)) => check(&schema["additionalProperties"], member, &inner)?,
                _ => {}
            }
        }
    }
    if let (Some(list), items @ Value::Object(_)) = (value.as_array(), &schema["items"]) {
        for (n, item) in list.iter().enumerate() {
            check(items, item, &format!("{at}[{n}]"))?;
        }
    }
    Ok(())
}

#[test]
fn a_mistake_is_found() {
    let good = serde_json::json!({"id": "1", "command": "pause", "outcome": "verified", "code": "ok", "message": "", "at": "2026-01-01T00:00:00Z"});
    conforms("result", &good);
    for (key, bad) in [
        ("outcome", serde_json::json!("fine")),
        ("at", serde_json::json!("today")),
        ("more", Value::Null),
        ("id", Value::Null),
    ] {
        let mut value = good.clone();
        value[key] = bad;
        assert!(check(&definition("result"), &value, "result").is_err(), "{key}");
    }
    assert!(check(&definition("result"), &serde_json::json!({"id": "1"}), "result").is_err());
}
