//! What has to survive a restart for one printer: its identity in the cloud and the job in hand. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::config::secrets::Secret;
use crate::printer::command::MaterialPlace;
use crate::sorted::SortedMap;

/// Numbers of started jobs that are remembered, so that a demand that comes twice does nothing.
const RECENT_MAX: usize = 32;

/// One printer's durable part. Its `Debug` shows no credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doc {
    /// Our own name for this connection; never changes.
    pub unique_id: String,
    /// The cloud's number; 0 until claimed.
    pub id: i64,
    /// The only credential.
    #[serde(with = "hidden")]
    pub token: Option<Secret>,
    /// The code that claims the printer.
    pub short_id: Option<String>,
    /// Name in the panel.
    pub name: Option<String>,
    /// The cloud's job in hand.
    pub job: Option<JobDoc>,
    /// The job whose start was reported and whose end is not yet.
    pub tracked: Option<Tracked>,
    /// The job whose end was reported last.
    pub last_ended: Option<Uuid>,
    /// Jobs of the cloud that were started or refused here.
    pub recent: VecDeque<i64>,
    /// Open events of the cloud, by the key of the notice.
    pub events: SortedMap<String, OpenEvent>,
    /// What the panel says is loaded.
    pub materials: Vec<Value>,
    /// The guess of the room's temperature.
    pub ambient_c: Option<i64>,
    /// The job whose bed was not cleared yet, for the call that tells the cloud.
    pub uncleared: Option<Uncleared>,
}

/// A job whose start was reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// Ours.
    pub uid: Uuid,
    /// The cloud's; `None`: started here.
    pub job_id: Option<i64>,
}

/// Where the cloud's job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The file is on its way.
    Fetching,
    /// The file is here and waits for `start_print`.
    Staged,
    /// The start was asked of the printer and not seen yet.
    Starting,
    /// It prints.
    Running,
}

/// The cloud's job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDoc {
    /// The cloud's number.
    pub job_id: Option<i64>,
    /// Identity of the start: the same one twice starts one print.
    pub start_id: String,
    /// Name of the file.
    pub name: String,
    /// Objects to leave out, by id or name.
    pub skip: Vec<String>,
    /// Where each filament comes from; empty: as in the file.
    #[serde(default)]
    pub materials: Vec<Option<MaterialPlace>>,
    /// Which plate of a project; `None`: the first.
    #[serde(default)]
    pub plate: Option<u32>,
    /// Where it stands.
    pub phase: Phase,
    /// The file, once it is here.
    pub sha256: Option<String>,
    /// Our job, once there is one.
    pub uid: Option<Uuid>,
    /// Allows calls after the print.
    #[serde(with = "hidden")]
    pub action_token: Option<Secret>,
}

/// A bed that the cloud does not know to be cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uncleared {
    /// Our job.
    pub uid: Uuid,
    /// Whether it was completed.
    pub success: bool,
    /// Allows the call.
    #[serde(with = "hidden")]
    pub action_token: Option<Secret>,
}

/// An event that is open in the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// Its identity there.
    pub event_id: Uuid,
    /// What was said, to find out whether it changed.
    pub said: Value,
}

impl Default for Doc {
    fn default() -> Self {
        Doc {
            unique_id: Uuid::new_v4().to_string(),
            id: 0,
            token: None,
            short_id: None,
            name: None,
            job: None,
            tracked: None,
            last_ended: None,
            recent: VecDeque::new(),
            events: SortedMap::new(),
            materials: Vec::new(),
            ambient_c: None,
            uncleared: None,
        }
    }
}

impl Doc {
    /// Whether a person has claimed it.
    pub fn is_claimed(&self) -> bool {
        self.id > 0
    }

    /// The cloud does not know it any more: everything that belonged to the account goes.
    pub fn unclaim(&mut self) {
        *self = Doc {
            unique_id: std::mem::take(&mut self.unique_id),
            token: self.token.take(),
            short_id: self.short_id.take(),
            ambient_c: self.ambient_c,
            ..Doc::default()
        };
    }

    /// Remembers that a job of the cloud had its turn.
    pub fn remember(&mut self, job_id: Option<i64>) {
        let Some(job_id) = job_id else { return };
        if self.recent.contains(&job_id) {
            return;
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(job_id);
    }
}

/// Secrets in the database are plain text: the file is the daemon's own (0600).
mod hidden {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::config::secrets::Secret;

    pub fn serialize<S: Serializer>(secret: &Option<Secret>, out: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => out.serialize_some(secret.reveal()),
            None => out.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_being_written_and_shows_no_credential() {
        let mut doc = Doc {
            id: 7,
            token: Some(Secret::new("very-secret")),
            ..Doc::default()
        };
        for n in 0..100 {
            doc.remember(Some(n));
        }
        let text = serde_json::to_string(&doc).expect("written");
        assert!(text.contains("very-secret"));
        assert_eq!(serde_json::from_str::<Doc>(&text).expect("read"), doc);
        assert!(!format!("{doc:?}").contains("very-secret"));
        assert_eq!(doc.recent.len(), RECENT_MAX);
        assert!(doc.recent.contains(&99) && !doc.recent.contains(&0));
    }

    #[test]
    fn what_an_older_version_did_not_know_is_filled_in() {
        let doc: Doc = serde_json::from_str(r#"{"unique_id":"u","id":3}"#).expect("read");
        assert!(doc.is_claimed());
        assert_eq!(doc.events.len(), 0);
    }
}
