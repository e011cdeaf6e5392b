//! Uploads in several parts: what is open, and until when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::job::spool::Incoming;

/// Uploads open at once. When full the oldest is given up: its sender has most likely gone.
const OPEN_MAX: usize = 8;

/// How long an upload may wait for its next part (documented: a token lives a day).
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// One upload that waits for its next part.
#[derive(Debug)]
pub struct Open {
    /// What has come.
    pub incoming: Incoming,
    /// Bytes in all.
    pub total: u64,
    since: Instant,
}

/// All of them, by token.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<BTreeMap<String, Open>>);

impl Uploads {
    /// Puts an upload aside; the token continues it.
    pub fn keep(&self, incoming: Incoming, total: u64) -> String {
        let token = Uuid::new_v4().simple().to_string();
        let mut open = self.0.lock().unwrap_or_else(|e| e.into_inner());
        open.retain(|_, o| o.since.elapsed() < TOKEN_LIFE);
        while open.len() >= OPEN_MAX {
            let oldest = open
                .iter()
                .min_by_key(|(_, o)| o.since)
                .map(|(token, _)| token.clone());
            match oldest {
                Some(token) => open.remove(&token),
                None => break,
            };
        }
        open.insert(
            token.clone(),
            Open {
                incoming,
                total,
                since: Instant::now(),
            },
        );
        token
    }

    /// Takes an upload up again. A token works once.
    pub fn take(&self, token: &str) -> Option<Open> {
        let mut open = self.0.lock().unwrap_or_else(|e| e.into_inner());
        open.retain(|_, o| o.since.elapsed() < TOKEN_LIFE);
        open.remove(token)
    }
}
