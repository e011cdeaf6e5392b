//! Where what is published. Pure.
//!
//! ```text
//! BASE/HOST/status                   online | offline   kept; the last will
//! BASE/HOST/host                     JSON               kept: version, session, how the host is
//! BASE/HOST/PRINTER/availability     online | offline   kept
//! BASE/HOST/PRINTER/state|job|…      JSON               kept: the newest level of each kind
//! BASE/HOST/PRINTER/event            JSON               delivered once: what happened
//! BASE/HOST/PRINTER/result           JSON               delivered once: how a command ended
//! BASE/HOST/PRINTER/camera           JPEG
//! BASE/HOST/PRINTER/command          JSON               for us
//! ```

/// Names of what hangs below a printer beside the levels.
pub const AVAILABILITY: &str = "availability";
/// What happened.
pub const EVENT: &str = "event";
/// How a command ended.
pub const RESULT: &str = "result";
/// A picture.
pub const CAMERA: &str = "camera";
/// What is wanted.
pub const COMMAND: &str = "command";

/// Words of the availability, as Home Assistant expects them.
pub const ONLINE: &str = "online";
/// See [`ONLINE`].
pub const OFFLINE: &str = "offline";

/// The names of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
    host: String,
}

impl Topics {
    /// `base` may have several parts; `host` is one, made safe.
    pub fn new(base: &str, host: &str) -> Self {
        Topics {
            base: base.trim_matches('/').to_owned(),
            host: safe(host),
        }
    }

    /// The name of this host in topics.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is there.
    pub fn status(&self) -> String {
        format!("{}/{}/status", self.base, self.host)
    }

    /// How the host is.
    pub fn host_level(&self) -> String {
        format!("{}/{}/host", self.base, self.host)
    }

    /// Something of a printer.
    pub fn of(&self, printer: &str, what: &str) -> String {
        format!("{}/{}/{}/{what}", self.base, self.host, safe(printer))
    }

    /// All commands for this host.
    pub fn commands(&self) -> String {
        format!("{}/{}/+/{COMMAND}", self.base, self.host)
    }

    /// The printer that a command is for, as it stands in the topic.
    pub fn commanded<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let rest = rest.strip_prefix(&self.host)?.strip_prefix('/')?;
        let printer = rest.strip_suffix(COMMAND)?.strip_suffix('/')?;
        (!printer.is_empty() && !printer.contains('/')).then_some(printer)
    }
}

/// A name that is one part of a topic. What the configuration allows in a printer's name stays as it is, so that two
/// printers never share a topic.
pub fn safe(name: &str) -> String {
    let out: String = name
        .trim()
        .chars()
        .take(64)
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => c,
            _ => '_',
        })
        .collect();
    if out.is_empty() { "_".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_each_and_commands_find_their_printer() {
        let topics = Topics::new("/shop/layerd/", "Shop Pi #1");
        assert_eq!(topics.status(), "shop/layerd/Shop_Pi__1/status");
        assert_eq!(
            topics.of("ender+/3", "job"),
            "shop/layerd/Shop_Pi__1/ender__3/job"
        );
        assert_eq!(topics.commands(), "shop/layerd/Shop_Pi__1/+/command");
        for (topic, printer) in [
            ("shop/layerd/Shop_Pi__1/p/command", Some("p")),
            ("shop/layerd/Shop_Pi__1/p/q/command", None),
            ("shop/layerd/Shop_Pi__1//command", None),
            ("shop/layerd/Shop_Pi__1/command", None),
            ("shop/layerd/other/p/command", None),
            ("shop/layerd/Shop_Pi__1/p/result", None),
            ("", None),
        ] {
            assert_eq!(topics.commanded(topic), printer, "{topic}");
        }
        assert_eq!(safe(""), "_");
    }
}
