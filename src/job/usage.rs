//! Filament used by a job, in the shapes that others want. Pure.

use serde_json::{Map, Value};

use crate::json::json;

/// `{"e0":{"usage":60},"e1":{"usage":0}}`: whole mm per tool, every tool up to the highest used.
///
/// Unknown (an empty list) is an empty object. The shape is the `filament` member of the jobs that
/// the SimplyPrint API lists, where it stands as text.
pub fn per_tool(filament_mm: &[f64]) -> Value {
    let members: Map<String, Value> = filament_mm
        .iter()
        .enumerate()
        .map(|(tool, mm)| (format!("e{tool}"), json!({ "usage": whole_mm(*mm) })))
        .collect();
    Value::Object(members)
}

/// All tools together, whole mm; `None` when nothing is known.
pub fn total_mm(filament_mm: &[f64]) -> Option<u64> {
    (!filament_mm.is_empty()).then(|| whole_mm(filament_mm.iter().filter(|mm| mm.is_finite()).sum()))
}

/// Never negative (a print may end in a retraction), never a fraction.
fn whole_mm(mm: f64) -> u64 {
    if mm.is_finite() {
        mm.round().max(0.0) as u64
    } else {
        0
    }
}

/// Grams of a length, from what the slicer says about the whole file: `file_g` for `file_mm`.
pub fn grams(used_mm: f64, file_mm: Option<f64>, file_g: Option<f64>) -> Option<f64> {
    let (mm, g) = (file_mm?, file_g?);
    (mm > 0.0 && g >= 0.0 && used_mm.is_finite()).then(|| (used_mm.max(0.0) * g / mm * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_whole_millimetres_by_tool() {
        assert_eq!(per_tool(&[60.4]).to_string(), r#"{"e0":{"usage":60}}"#);
        assert_eq!(
            per_tool(&[0.0, 12.5, -3.0, f64::NAN]).to_string(),
            r#"{"e0":{"usage":0},"e1":{"usage":13},"e2":{"usage":0},"e3":{"usage":0}}"#
        );
        assert_eq!(per_tool(&[]).to_string(), "{}");
        let wide: Vec<f64> = vec![1.0; 12];
        assert!(
            per_tool(&wide).to_string().contains(r#""e9":{"usage":1},"e10""#),
            "in order of tools"
        );
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(total_mm(&[]), None);
        assert_eq!(total_mm(&[0.0]), Some(0));
        assert_eq!(total_mm(&[59.7, 0.4, f64::INFINITY]), Some(60));
        assert_eq!(grams(500.0, Some(1000.0), Some(2.98)), Some(1.49));
        assert_eq!(grams(500.0, None, Some(2.98)), None);
        assert_eq!(grams(500.0, Some(0.0), Some(2.98)), None);
    }
}
