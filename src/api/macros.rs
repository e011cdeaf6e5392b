//! `gcode_macros/*`: lines of the owner's own, as the configuration has them, to look at and to send.
//! Changing them is done there.

use axum::Json as Answer;
use axum::extract::State;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::envelope::Problem;
use super::incoming::Params;
use super::{Api, pid};
use crate::agent::handle::PrinterHandle;
use crate::config::template::{self, Moment, Snippets, Template, VARIABLES};
use crate::json::json;

/// Documented names of moments, in the order in which they come.
pub const MACROS: &[(&str, Moment, &str)] = &[
    ("is_start", Moment::Start, "Before the first line of a file"),
    ("is_end", Moment::End, "After the last line of a file"),
    (
        "is_cancel",
        Moment::Cancel,
        "After a cancel, when the heaters are off",
    ),
    ("is_pause", Moment::Pause, "The head was lifted in a pause"),
    (
        "is_resume",
        Moment::Resume,
        "Everything is warm again, the head not yet back",
    ),
    ("is_autoprint_clear", Moment::Clear, "Pushes the part off the bed"),
    (
        "is_autoprint_on_end",
        Moment::Done,
        "After a completed print: lets go of the part",
    ),
];

/// What is meant by a name: also in the spelling of one documented list.
pub fn moment(name: &str) -> Option<Moment> {
    let name = if name == "is_autorpint_clear" {
        "is_autoprint_clear"
    } else {
        name
    };
    MACROS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, moment, _)| *moment)
}

/// The number of a snippet: made of its name, so that it stays when others come and go.
pub fn number(name: &str) -> u32 {
    let hash = Sha256::digest(name.as_bytes());
    let number = hash
        .iter()
        .take(4)
        .fold(0u32, |n, byte| n << 8 | u32::from(*byte));
    // Fits every signed 32-bit number, and is none of the small ones that people try.
    (number >> 1) | 0x10_0000
}

/// The name of a snippet that is meant by its number or its name.
fn named<'s>(snippets: &'s Snippets, wanted: &str) -> Option<&'s str> {
    let mut names = snippets.keys().map(String::as_str);
    names.find(|name| *name == wanted || number(name).to_string() == wanted)
}

/// The lines of a snippet for a printer.
pub fn snippet(printer: &PrinterHandle, wanted: &str) -> Option<Vec<String>> {
    let snippets = &printer.gcode().snippets;
    let template = template::snippet(named(snippets, wanted)?, snippets)?.ok()?;
    Some(template.lines(&printer.values()))
}

/// The lines of a moment for a printer; `None`: the configuration has none.
pub fn lines(printer: &PrinterHandle, moment: Moment) -> Option<Vec<String>> {
    let template = written(printer, moment).filter(|t| !t.is_empty())?;
    Some(template.lines(&printer.values()))
}

pub(super) fn written(printer: &PrinterHandle, moment: Moment) -> Option<&Template> {
    let release = printer.release_settings();
    match moment {
        Moment::Clear => release.map(|r| &r.clear),
        Moment::Done => release.map(|r| &r.done),
        moment => printer.gcode().at(moment),
    }
}

fn shown(name: &str) -> Value {
    json!({"id": number(name), "name": name, "description": null, "priority": 0, "created": null})
}

/// `gcode_macros/GetOverview`.
pub async fn overview(State(api): State<Api>) -> Answer<Value> {
    let printers = api.agent.printers();
    let macros: Vec<Value> = MACROS
        .iter()
        .map(|(name, moment, _)| {
            let of = |p: &PrinterHandle| {
                let lines = written(p, *moment)
                    .filter(|t| !t.is_empty())
                    .map(Template::written);
                (format!("printer_{}", p.id()), json!(lines))
            };
            json!({"type": name, "gcodes": printers.iter().map(of).collect::<Map<_, _>>()})
        })
        .collect();
    let cards: Map<String, Value> = MACROS
        .iter()
        .map(|(name, _, words)| ((*name).to_owned(), json!({"name": name, "description": words})))
        .collect();
    let variables: Map<String, Value> = VARIABLES
        .iter()
        .map(|(name, _)| ((*name).to_owned(), json!(format!("{{{name}}}"))))
        .collect();
    // Every printer has the same ones.
    let snippets: Vec<Value> = printers
        .first()
        .map(|p| p.gcode().snippets.keys().map(|name| shown(name)).collect())
        .unwrap_or_default();
    Answer(json!({
        "status": true, "message": null, "gcodeCompletions": [], "macro_groups": [], "macros_cards": cards,
        "macros": {"company": macros, "personal": null, "sp": null},
        "snippets": {"company": snippets}, "variables": variables, "slicerVariables": {},
    }))
}

/// `gcode_macros/GetSnippet?id=`: by number or name.
pub async fn get_snippet(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let wanted = params.short("id", super::demand::NAME_MAX)?;
    let wanted = wanted.ok_or_else(|| Problem::bad("`id` must be the number or name of a snippet."))?;
    let printers = api.agent.printers();
    let snippets = printers
        .first()
        .map(|p| p.gcode().snippets.clone())
        .unwrap_or_default();
    let name = named(&snippets, wanted).ok_or_else(|| Problem::not_found("There is no such snippet."))?;
    let mut out = shown(name);
    if let Value::Object(members) = &mut out {
        members.insert("gcode".to_owned(), json!(snippets.get(name)));
    }
    Ok(Answer(json!({"status": true, "message": null, "snippet": out})))
}

/// `gcode_macros/GetMacroGcode?macro=&printer=`: the lines as they would be sent.
pub async fn get_macro(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let names: Vec<&str> = MACROS
        .iter()
        .map(|(name, ..)| *name)
        .chain(["is_autorpint_clear"])
        .collect();
    let name = params.word("macro", &names)?.unwrap_or_default();
    let moment = moment(name).ok_or_else(|| Problem::bad("`macro` is required."))?;
    let printers = match params.text("printer") {
        None => api.agent.printers(),
        Some(text) => {
            let ids = pid::pids(Some(text), &Value::Null);
            api.printers(&ids.map_err(|_| Problem::bad("`printer` must be the number of a printer."))?)?
        }
    };
    let mut all: Vec<Vec<String>> = printers.iter().filter_map(|p| lines(p, moment)).collect();
    all.dedup();
    let multiple = all.len() > 1;
    let gcode = all.into_iter().next().unwrap_or_default();
    Ok(Answer(
        json!({"status": true, "message": null, "gcode": gcode, "multiple": multiple}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_keep_their_number_and_are_found_by_it() {
        let snippets: Snippets = [("wipe", "G12"), ("purge", "G1 E5")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        let wipe = number("wipe");
        assert_eq!(wipe, 1_668_975_998, "it never changes");
        assert_eq!(named(&snippets, &wipe.to_string()), Some("wipe"));
        assert_eq!(named(&snippets, "purge"), Some("purge"));
        assert_eq!(named(&snippets, "1"), None);
        assert_eq!(moment("is_autorpint_clear"), Some(Moment::Clear));
        assert_eq!(moment("home"), None);
    }
}
