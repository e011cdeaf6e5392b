//! The tools: one table from which both the schemas that clients see and the checks of what they send are
//! made. Pure.

use serde_json::{Map, Value};

use crate::api::access::Scope;
use crate::json::json;
use crate::printer::guard::{GCODE_LINE_MAX, GCODE_LINES_MAX};

/// Longest name of a printer, file, start …, characters.
const NAME_MAX: usize = 255;

/// Most objects in one call.
const OBJECTS_MAX: usize = 1000;

/// How an argument looks.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text of at most so many characters.
    Text(usize),
    /// A whole number from … to ….
    Whole(i64, i64),
    /// True or false.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Lines of G-code.
    Lines,
    /// Objects of a print, by number or name.
    Objects,
}

/// An argument: name, form, whether it has to be there, what it means.
pub type Argument = (&'static str, Kind, bool, &'static str);

/// What a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it looks.
    Looks,
    /// Something that can be undone.
    Acts,
    /// Something that cannot.
    Destroys,
}

/// One tool.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// For the model.
    pub description: &'static str,
    /// What a key needs for it.
    pub scope: Scope,
    /// What it does.
    pub effect: Effect,
    /// What it takes.
    pub arguments: &'static [Argument],
    /// The action of the native shape that it is.
    pub action: Option<&'static str>,
}

const PRINTER: Argument = (
    "printer",
    Kind::Text(NAME_MAX),
    true,
    "Name or number of the printer, as list_printers tells it.",
);

const fn looks(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    arguments: &'static [Argument],
) -> Tool {
    Tool {
        name,
        title,
        description,
        scope: Scope::Read,
        effect: Effect::Looks,
        arguments,
        action: None,
    }
}

const fn acts(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    action: &'static str,
    arguments: &'static [Argument],
) -> Tool {
    Tool {
        name,
        title,
        description,
        scope: Scope::Control,
        effect,
        arguments,
        action: Some(action),
    }
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    looks(
        "list_printers",
        "List printers",
        "All printers with state, temperatures and the job in hand. What is not known is null or absent, never zero.",
        &[],
    ),
    looks(
        "get_printer",
        "Look at a printer",
        "Everything known about one printer: state and why, link, job, temperatures with the age of each reading, \
         notices with their buttons, capabilities, materials.",
        &[PRINTER],
    ),
    looks(
        "get_temperatures",
        "Temperatures",
        "Actual and target temperature of every heater of a printer, °C, with the age of each reading in milliseconds.",
        &[PRINTER],
    ),
    looks(
        "list_objects",
        "Objects of the print",
        "The objects on the plate of the running print: number, name, and whether each is left out already.",
        &[PRINTER],
    ),
    looks(
        "list_jobs",
        "Print history",
        "Jobs, newest first.",
        &[
            (
                "printer",
                Kind::Text(NAME_MAX),
                false,
                "Only those of this printer.",
            ),
            (
                "status",
                Kind::Word(&["ongoing", "done", "cancelled", "failed"]),
                false,
                "Only those that stand so.",
            ),
            (
                "limit",
                Kind::Whole(1, 100),
                false,
                "How many; 25 without a wish.",
            ),
        ],
    ),
    looks(
        "list_files",
        "Stored files",
        "Files that were uploaded and can be printed, newest first.",
        &[],
    ),
    acts(
        "pause_print",
        "Pause",
        "Pauses the running print; answers when the printer was seen to have paused.",
        Effect::Acts,
        "Pause",
        &[PRINTER],
    ),
    acts(
        "resume_print",
        "Resume",
        "Resumes a paused print; answers when the printer was seen to print, which may take minutes of heating.",
        Effect::Acts,
        "Resume",
        &[PRINTER],
    ),
    acts(
        "cancel_print",
        "Cancel",
        "Ends the running print for good.",
        Effect::Destroys,
        "Cancel",
        &[
            PRINTER,
            ("comment", Kind::Text(500), false, "Why, for the history."),
        ],
    ),
    acts(
        "skip_objects",
        "Leave objects out",
        "Leaves objects out of the rest of the running print. It cannot be undone; one object has to stay.",
        Effect::Destroys,
        "SkipObjects",
        &[
            PRINTER,
            (
                "objects",
                Kind::Objects,
                true,
                "Numbers or names, as list_objects tells them.",
            ),
        ],
    ),
    acts(
        "start_print",
        "Start a print",
        "Prints a stored file. Answers when the file has passed its checks and the start is durable; that it prints \
         shows in get_printer. The bed must be clear: ask a person.",
        Effect::Destroys,
        "CreateJob",
        &[
            PRINTER,
            (
                "file",
                Kind::Text(NAME_MAX),
                true,
                "Id or name of the file, as list_files tells it.",
            ),
            (
                "skip_objects",
                Kind::Objects,
                false,
                "Objects to leave out, by number or name.",
            ),
            (
                "start_id",
                Kind::Text(NAME_MAX),
                false,
                "Identity of the start: the same one twice starts one print.",
            ),
        ],
    ),
    acts(
        "send_gcode",
        "Send G-code",
        "Sends lines of G-code. Refused while something prints, unless `tune` is set: then only lines that tune pass \
         (temperatures, fans, feed and flow rate, baby-steps, messages).",
        Effect::Destroys,
        "SendGcode",
        &[
            PRINTER,
            ("gcode", Kind::Lines, true, "The lines."),
            ("tune", Kind::Switch, false, "Only tune the running print."),
        ],
    ),
    acts(
        "answer_prompt",
        "Press a button",
        "Presses a button of the question that a printer asks.",
        Effect::Destroys,
        "Answer",
        &[
            PRINTER,
            (
                "button",
                Kind::Whole(0, 255),
                true,
                "Number of the button, from 0.",
            ),
        ],
    ),
    acts(
        "clear_bed",
        "The bed is clear",
        "Notes that a person took the last print off the bed. Only when a person says so.",
        Effect::Acts,
        "ClearBed",
        &[
            PRINTER,
            (
                "rating",
                Kind::Whole(1, 4),
                false,
                "How the print turned out, 1 to 4.",
            ),
        ],
    ),
    acts(
        "heaters_off",
        "Heaters off",
        "Switches all heaters of an idle printer off.",
        Effect::Acts,
        "HeatersOff",
        &[PRINTER],
    ),
    acts(
        "emergency_stop",
        "Emergency stop",
        "Stops a printer at once, ahead of everything. The print is lost and the printer may need a reset by hand.",
        Effect::Destroys,
        "EmergencyStop",
        &[PRINTER],
    ),
];

/// The tool of a name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

fn schema(kind: Kind, meaning: &str) -> Value {
    let mut out = match kind {
        Kind::Text(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
        Kind::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Lines => json!({"type": "array", "minItems": 1, "maxItems": GCODE_LINES_MAX,
            "items": {"type": "string", "maxLength": GCODE_LINE_MAX}}),
        Kind::Objects => json!({"type": "array", "minItems": 1, "maxItems": OBJECTS_MAX,
            "items": {"type": ["integer", "string"]}}),
    };
    if let Value::Object(members) = &mut out {
        members.insert("description".to_owned(), json!(meaning));
    }
    out
}

impl Tool {
    /// As it is listed.
    pub fn shown(&self) -> Value {
        let properties: Map<String, Value> = self
            .arguments
            .iter()
            .map(|(name, kind, _, meaning)| ((*name).to_owned(), schema(*kind, meaning)))
            .collect();
        let required = self.arguments.iter().filter(|(_, _, needed, _)| *needed);
        let required: Vec<&str> = required.map(|(name, ..)| *name).collect();
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": {
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            },
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.effect == Effect::Looks,
                "destructiveHint": self.effect == Effect::Destroys,
                "idempotentHint": self.effect == Effect::Looks,
                "openWorldHint": false,
            },
        })
    }

    /// Whether arguments are what the schema says.
    ///
    /// # Errors
    /// The first that is not, in words for the model.
    pub fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
        for (name, kind, needed, _) in self.arguments {
            match arguments.get(*name) {
                None if *needed => return Err(format!("`{name}` is required.")),
                None => {}
                Some(value) if fits(*kind, value) => {}
                Some(_) => return Err(format!("`{name}` must be {}.", words(*kind))),
            }
        }
        let unknown = arguments
            .keys()
            .find(|key| !self.arguments.iter().any(|(name, ..)| name == key));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(40).collect();
                Err(format!("There is no argument `{name}`."))
            }
        }
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    let text = |value: &Value, most: usize| {
        let length = value.as_str().map(|t| t.chars().count());
        length.is_some_and(|n| (1..=most).contains(&n))
    };
    match kind {
        Kind::Text(most) => text(value, most),
        Kind::Whole(least, most) => value.as_i64().is_some_and(|n| (least..=most).contains(&n)),
        Kind::Switch => value.is_boolean(),
        Kind::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Kind::Lines => value.as_array().is_some_and(|list| {
            let short = |line: &Value| line.as_str().is_some_and(|l| l.chars().count() <= GCODE_LINE_MAX);
            (1..=GCODE_LINES_MAX).contains(&list.len()) && list.iter().all(short)
        }),
        Kind::Objects => value.as_array().is_some_and(|list| {
            let object = |o: &Value| o.is_u64() || text(o, NAME_MAX);
            (1..=OBJECTS_MAX).contains(&list.len()) && list.iter().all(object)
        }),
    }
}

fn words(kind: Kind) -> String {
    match kind {
        Kind::Text(most) => format!("a text of 1 to {most} characters"),
        Kind::Whole(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Switch => "true or false".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Lines => {
            format!("a list of 1 to {GCODE_LINES_MAX} lines of at most {GCODE_LINE_MAX} characters")
        }
        Kind::Objects => format!("a list of 1 to {OBJECTS_MAX} numbers or names"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tool: &str, arguments: Value) -> Result<(), String> {
        find(tool)
            .expect("a tool")
            .check(arguments.as_object().expect("an object"))
    }

    #[test]
    fn arguments_are_held_to_their_schemas() {
        assert_eq!(check("list_printers", json!({})), Ok(()));
        assert_eq!(check("pause_print", json!({"printer": "ender3"})), Ok(()));
        for (tool, arguments, named) in [
            ("pause_print", json!({}), "printer"),
            ("pause_print", json!({"printer": 1}), "printer"),
            ("pause_print", json!({"printer": ""}), "printer"),
            ("pause_print", json!({"printer": "a", "speed": 9}), "speed"),
            ("list_jobs", json!({"limit": 0}), "limit"),
            ("list_jobs", json!({"limit": 101}), "limit"),
            ("list_jobs", json!({"status": "x"}), "status"),
            ("skip_objects", json!({"printer": "a", "objects": []}), "objects"),
            (
                "skip_objects",
                json!({"printer": "a", "objects": [-1]}),
                "objects",
            ),
            ("send_gcode", json!({"printer": "a", "gcode": "G28"}), "gcode"),
            (
                "send_gcode",
                json!({"printer": "a", "gcode": ["x".repeat(501)]}),
                "gcode",
            ),
            (
                "send_gcode",
                json!({"printer": "a", "gcode": vec!["G4"; 201]}),
                "gcode",
            ),
            (
                "send_gcode",
                json!({"printer": "a", "gcode": ["G4"], "tune": 1}),
                "tune",
            ),
        ] {
            let told = check(tool, arguments.clone()).expect_err("refused");
            assert!(told.contains(&format!("`{named}`")), "{arguments}: {told}");
        }
        assert_eq!(
            check("send_gcode", json!({"printer": "a", "gcode": vec!["G4"; 200]})),
            Ok(())
        );
    }

    #[test]
    fn names_are_unique_and_what_looks_needs_no_more_than_reading() {
        for (n, tool) in TOOLS.iter().enumerate() {
            assert!(
                TOOLS.iter().skip(n + 1).all(|other| other.name != tool.name),
                "{}",
                tool.name
            );
            assert_eq!(
                tool.scope == Scope::Read,
                tool.effect == Effect::Looks,
                "{}",
                tool.name
            );
            assert_eq!(
                tool.action.is_none(),
                tool.effect == Effect::Looks,
                "{}",
                tool.name
            );
            let shown = tool.shown();
            assert_eq!(shown["inputSchema"]["additionalProperties"], false);
        }
    }
}
