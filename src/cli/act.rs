//! The verbs that make a printer do something: they wait for the end and tell it.

use serde_json::Value;

use super::Globals;
use super::client::{Client, LONG, Listed, QUICK, block_on};
use super::exit::{Done, Exit, Failure};
use super::out;

use crate::json::json;

/// Arguments of a verb that needs nothing but a printer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer
    printer: String,
    /// Return as soon as the command was accepted
    #[arg(long)]
    no_wait: bool,
}

/// Arguments of `send`.
#[derive(Clone, Debug, clap::Args)]
pub struct SendArgs {
    /// Name or number of the printer
    printer: String,
    /// G-code lines, each in quotes
    #[arg(required = true, value_name = "GCODE")]
    gcode: Vec<String>,
    /// Only tune a running print: temperatures, fans, feed and flow rate, baby-steps, screen texts
    #[arg(long)]
    tune: bool,
    /// Return as soon as the lines were accepted
    #[arg(long)]
    no_wait: bool,
}

/// Arguments of `cancel`.
#[derive(Clone, Debug, clap::Args)]
pub struct CancelArgs {
    #[command(flatten)]
    common: Args,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

/// Arguments of `skip`.
#[derive(Clone, Debug, clap::Args)]
pub struct SkipArgs {
    /// Name or number of the printer
    printer: String,
    /// Numbers or names of objects, as `layerd analyze FILE` shows them
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<String>,
    /// Return as soon as the command was accepted
    #[arg(long)]
    no_wait: bool,
}

/// Arguments of `clear`.
#[derive(Clone, Debug, clap::Args)]
pub struct ClearArgs {
    /// Name or number of the printer
    printer: String,
    /// How the print came out, 1 (bad) to 4 (good)
    #[arg(long, value_name = "1-4", value_parser = clap::value_parser!(u8).range(1..=4))]
    rating: Option<u8>,
}

/// Arguments of `answer`.
#[derive(Clone, Debug, clap::Args)]
pub struct AnswerArgs {
    /// Name or number of the printer
    printer: String,
    /// Number of the button, from 0, as `layerd printers` shows it
    button: u8,
}

/// `layerd resume|estop PRINTER`.
pub fn run(globals: &Globals, action: &'static str, args: &Args) -> Done {
    act(globals, &args.printer, action, json!({}), !args.no_wait)
}

/// `layerd cancel PRINTER`.
pub fn cancel(globals: &Globals, args: &CancelArgs) -> Done {
    let mut body = json!({});
    if let (Some(comment), Some(members)) = (&args.comment, body.as_object_mut()) {
        members.insert("comment".to_owned(), json!(comment));
    }
    act(
        globals,
        &args.common.printer,
        "Cancel",
        body,
        !args.common.no_wait,
    )
}

/// `layerd send PRINTER GCODE…`.
pub fn send(globals: &Globals, args: &SendArgs) -> Done {
    let body = json!({"gcode": args.gcode, "layerd": {"tune": args.tune}});
    act(globals, &args.printer, "SendGcode", body, !args.no_wait)
}

/// `layerd skip PRINTER OBJECT…`.
pub fn skip(globals: &Globals, args: &SkipArgs) -> Done {
    let body = json!({"object_ids": args.objects});
    act(globals, &args.printer, "SkipObjects", body, !args.no_wait)
}

/// `layerd clear PRINTER`.
pub fn clear(globals: &Globals, args: &ClearArgs) -> Done {
    let body = args
        .rating
        .map_or_else(|| json!({}), |rating| json!({"rating": rating}));
    act(globals, &args.printer, "ClearBed", body, true)
}

/// `layerd answer PRINTER N`: the button of the newest prompt that has it.
pub fn answer(globals: &Globals, args: &AnswerArgs) -> Done {
    let client = globals.client()?;
    block_on(async {
        let printer = client.printer(&args.printer).await?;
        let notice = prompt(&printer, args.button)?;
        let body = json!({
            "pid": [printer.id],
            "notifications": [{"id": notice, "action": args.button.to_string()}],
        });
        let pid = printer.id.to_string();
        let answer = client
            .post("printers/notification/Resolve", &[("pid", &pid)], &body, LONG)
            .await?;
        Ok(tell(globals, &answer))
    })?
}

/// The identity of the newest notice with such a button.
fn prompt(printer: &Listed, button: u8) -> Result<String, Failure> {
    let notices = printer
        .native
        .get("notices")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let buttons = |n: &Value| n.get("buttons").and_then(Value::as_array).map_or(0, Vec::len);
    let found = notices.iter().rev().find(|n| buttons(n) > usize::from(button));
    if let Some(id) = found.and_then(|n| n.get("id")).and_then(Value::as_str) {
        return Ok(id.to_owned());
    }
    let most = notices.iter().map(buttons).max().unwrap_or(0);
    Err(Failure {
        exit: Exit::Refused,
        text: match most {
            0 => format!("{} asks nothing: there is no button to press.", printer.name),
            n => format!(
                "{} has no button {button}; its buttons are 0 to {}.",
                printer.name,
                n - 1
            ),
        },
    })
}

/// Does an action on one printer and tells how it ended.
pub(super) fn act(globals: &Globals, printer: &str, action: &'static str, body: Value, wait: bool) -> Done {
    let client = globals.client()?;
    block_on(async {
        let printer = client.printer(printer).await?;
        let answer = demand(&client, &printer, action, body, wait).await?;
        Ok(tell(globals, &answer))
    })?
}

/// One action on one printer; the daemon's whole answer.
pub async fn demand(
    client: &Client,
    printer: &Listed,
    action: &str,
    mut body: Value,
    wait: bool,
) -> Result<Value, Failure> {
    if let Some(members) = body.as_object_mut() {
        let native = members.entry("layerd").or_insert_with(|| json!({}));
        if let Some(native) = native.as_object_mut() {
            native.insert("wait".to_owned(), json!(wait));
        }
    }
    let pid = printer.id.to_string();
    let limit = if wait { LONG } else { QUICK };
    client
        .post(
            &format!("printers/actions/{action}"),
            &[("pid", &pid)],
            &body,
            limit,
        )
        .await
}

/// Tells the end of a command: JSON on stdout, or words on stderr when there is something to say.
pub fn tell(globals: &Globals, answer: &Value) -> Exit {
    let native = outcome(answer);
    let exit = Exit::of_outcome(&native);
    let message = native.get("message").and_then(Value::as_str).unwrap_or_default();
    if globals.json {
        out::json(&native);
    } else if exit != Exit::Good {
        let code = native.get("code").and_then(Value::as_str).unwrap_or("unknown");
        out::err(format!("{} [{}]", out::clean(message), out::clean(code)));
    } else if globals.verbose > 0 {
        out::err(native.get("outcome").and_then(Value::as_str).unwrap_or_default());
    }
    exit
}

/// `{outcome, code, message}` of an answer.
fn outcome(answer: &Value) -> Value {
    let member = |key: &str| {
        answer
            .pointer(&format!("/layerd/{key}"))
            .cloned()
            .unwrap_or(Value::Null)
    };
    json!({"outcome": member("outcome"), "code": member("code"), "message": member("message")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_prompt_with_that_button_is_answered() {
        let mut printer = super::super::printers::sample();
        printer.native["notices"] = json!([
            {"id": "old", "buttons": ["a", "b"]},
            {"id": "new", "buttons": ["a"]},
            {"id": "words", "buttons": []},
        ]);
        assert_eq!(prompt(&printer, 0).expect("there"), "new");
        assert_eq!(prompt(&printer, 1).expect("there"), "old");
        let none = prompt(&printer, 2).expect_err("no such button");
        assert_eq!(none.exit, Exit::Refused);
        assert!(none.text.contains("0 to 1"), "{}", none.text);
    }

    #[test]
    fn an_outcome_is_exactly_three_members() {
        let answer = json!({"status": false, "layerd": {"outcome": "refused", "code": "refused/wrong-state", "message": "No.", "results": []}});
        assert_eq!(
            outcome(&answer),
            json!({"outcome": "refused", "code": "refused/wrong-state", "message": "No."})
        );
    }
}
