//! One session with a broker: connect, subscribe, publish, acknowledge, stay alive. Pure: bytes and time are arguments.

use std::time::{Duration, Instant};

use super::proto::{self, Incoming, Message, Qos, Reader, Will};

use crate::sorted::SortedMap;

/// How long the broker may take to answer a connect, a subscription or a ping.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Messages that may wait for their acknowledgement. Full: further ones stay where they are.
const INFLIGHT_MAX: usize = 16;
/// Bytes that may wait to be written. Full: levels stay where they are, and the newest wins there.
const OUT_MAX: usize = 64 * 1024;

/// How the broker is addressed.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// Our name with the broker; a second session with it ends the first.
    pub client_id: &'a str,
    /// Name and password.
    pub user: Option<(&'a str, Option<&'a str>)>,
    /// Published when we are gone.
    pub will: Option<Will>,
    /// The broker hears of us at least this often.
    pub keep_alive: Duration,
    /// What is subscribed to.
    pub filters: Vec<(String, Qos)>,
}

/// What came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Connected and subscribed.
    Ready,
    /// The broker lets us not listen to this filter.
    NotAllowed(String),
    /// A message.
    Message(Message),
    /// A message that was too large to look at.
    TooLarge {
        /// Where.
        topic: Option<String>,
        /// How large.
        bytes: usize,
    },
    /// What was published under this token has arrived.
    Arrived(u64),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The broker said no; §3.2.2.3.
    #[error("the broker refuses: {}", refusal(*.0))]
    Refused(u8),
    /// It does not speak MQTT 3.1.1.
    #[error("{0}")]
    Malformed(#[from] proto::Malformed),
    /// It does not answer.
    #[error("the broker fell silent")]
    Silent,
    /// It answers what was not asked.
    #[error("the broker answers out of turn")]
    OutOfTurn,
}

fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not like our client id. Choose another `client_id`",
        3 => "it is not ready",
        4 => "user or password is wrong. Look at `user` and `password_file`",
        5 => "we are not authorized. Look at `user`, `password_file` and the broker's access list",
        _ => "it does not say why",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Subscribing,
    Ready,
}

/// The number of the one subscription.
const SUBSCRIPTION: u16 = 1;

/// A session.
#[derive(Debug)]
pub struct Link {
    phase: Phase,
    filters: Vec<(String, Qos)>,
    reader: Reader,
    out: Vec<u8>,
    keep_alive: Duration,
    said_at: Instant,
    heard_at: Instant,
    /// Since when an answer is due.
    due_since: Option<Instant>,
    next_id: u16,
    /// Number to token.
    inflight: SortedMap<u16, u64>,
}

impl Link {
    /// The bytes way is open; says hello.
    pub fn new(now: Instant, login: Login<'_>) -> Self {
        let mut out = Vec::new();
        let keep_alive_s = u16::try_from(login.keep_alive.as_secs()).unwrap_or(u16::MAX);
        proto::connect(
            &mut out,
            login.client_id,
            keep_alive_s,
            login.user,
            login.will.as_ref(),
        );
        Link {
            phase: Phase::Connecting,
            filters: login.filters,
            reader: Reader::default(),
            out,
            keep_alive: login.keep_alive,
            said_at: now,
            heard_at: now,
            due_since: Some(now),
            next_id: SUBSCRIPTION,
            inflight: SortedMap::new(),
        }
    }

    /// Bytes came.
    ///
    /// # Errors
    /// The session is over.
    pub fn input(&mut self, now: Instant, bytes: &[u8]) -> Result<Vec<Heard>, LinkError> {
        let mut heard = Vec::new();
        self.heard_at = now;
        for packet in self.reader.take(bytes)? {
            match packet {
                Incoming::ConnAck(0) if self.phase == Phase::Connecting => {
                    self.phase = Phase::Subscribing;
                    self.due_since = Some(now);
                    let filters: Vec<(&str, Qos)> =
                        self.filters.iter().map(|(f, qos)| (f.as_str(), *qos)).collect();
                    if filters.is_empty() {
                        self.ready(&mut heard);
                    } else {
                        proto::subscribe(&mut self.out, SUBSCRIPTION, &filters);
                    }
                }
                Incoming::ConnAck(code) if self.phase == Phase::Connecting => {
                    return Err(LinkError::Refused(code));
                }
                Incoming::SubAck(codes) if self.phase == Phase::Subscribing => {
                    let refused = codes
                        .iter()
                        .zip(&self.filters)
                        .filter(|(code, _)| **code & 0x80 != 0);
                    heard.extend(refused.map(|(_, (filter, _))| Heard::NotAllowed(filter.clone())));
                    self.ready(&mut heard);
                }
                Incoming::PubAck(id) => {
                    // An unknown one is of no harm.
                    heard.extend(self.inflight.remove(&id).map(Heard::Arrived));
                }
                Incoming::Publish(message) if self.phase != Phase::Connecting => {
                    if let Some(id) = message.id {
                        proto::acknowledge(&mut self.out, id);
                    }
                    heard.push(Heard::Message(message));
                }
                Incoming::TooLarge { topic, id, bytes } if self.phase != Phase::Connecting => {
                    if let Some(id) = id {
                        proto::acknowledge(&mut self.out, id);
                    }
                    heard.push(Heard::TooLarge { topic, bytes });
                }
                Incoming::Pong => {
                    if self.phase == Phase::Ready {
                        self.due_since = None;
                    }
                }
                _ => return Err(LinkError::OutOfTurn),
            }
        }
        Ok(heard)
    }

    fn ready(&mut self, heard: &mut Vec<Heard>) {
        self.phase = Phase::Ready;
        self.due_since = None;
        heard.push(Heard::Ready);
    }

    /// Whether another message may be published now.
    pub fn has_room(&self) -> bool {
        self.phase == Phase::Ready && self.out.len() < OUT_MAX && self.inflight.len() < INFLIGHT_MAX
    }

    /// Publishes. With a token it is acknowledged by [`Heard::Arrived`].
    pub fn publish(&mut self, topic: &str, payload: &[u8], retain: bool, token: Option<u64>) {
        let id = token.map(|token| {
            // 16 are under way at most, so a free number is near.
            while self.next_id <= SUBSCRIPTION || self.inflight.contains_key(&self.next_id) {
                self.next_id = self.next_id.wrapping_add(1);
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            self.inflight.insert(id, token);
            id
        });
        proto::publish(&mut self.out, topic, payload, retain, id);
    }

    /// Says goodbye.
    pub fn goodbye(&mut self) {
        proto::disconnect(&mut self.out);
    }

    /// Bytes to write now.
    pub fn waiting(&self) -> &[u8] {
        &self.out
    }

    /// So many of them were written.
    pub fn written(&mut self, now: Instant, bytes: usize) {
        self.said_at = now;
        self.out.drain(..bytes.min(self.out.len()));
        if self.out.is_empty() {
            self.out.shrink_to(4096);
        }
    }

    /// Time goes on.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn tick(&mut self, now: Instant) -> Result<(), LinkError> {
        if self
            .due_since
            .is_some_and(|since| now.saturating_duration_since(since) >= ANSWER_LIMIT)
        {
            return Err(LinkError::Silent);
        }
        let quiet = now >= self.quiet_at();
        if self.phase == Phase::Ready && quiet && self.due_since.is_none() {
            proto::ping(&mut self.out);
            self.due_since = Some(now);
        }
        Ok(())
    }

    /// When [`Link::tick`] is due.
    pub fn deadline(&self) -> Instant {
        match self.due_since {
            Some(since) => since + ANSWER_LIMIT,
            None => self.quiet_at(),
        }
    }

    /// A broker that is talked to and says nothing may be gone as well as one that is not talked to.
    fn quiet_at(&self) -> Instant {
        self.said_at.min(self.heard_at) + self.keep_alive / 2
    }
}

/// How long to wait before the next attempt; `failures`: attempts in a row that failed, `chance` is 0–1.
///
/// The first wait after a session is anywhere within `spread`, so that the hosts of a broker that restarts do not come
/// back in step; then it doubles up to a minute, with as much chance in it.
pub fn pause(failures: u32, spread: Duration, chance: f64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(60);
    let chance = chance.clamp(0.0, 1.0);
    if failures == 0 {
        return spread.mul_f64(chance);
    }
    let doubled = spread
        .max(Duration::from_secs(1))
        .saturating_mul(1 << failures.min(10));
    doubled.min(LONGEST.max(spread)).mul_f64(0.5 + 0.5 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login<'static> {
        Login {
            client_id: "c",
            user: None,
            will: None,
            keep_alive: Duration::from_secs(30),
            filters: vec![("a/command".to_owned(), Qos::One), ("b".to_owned(), Qos::Zero)],
        }
    }

    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
    const SUBACK: [u8; 6] = [0x90, 4, 0, 1, 1, 0];

    fn ready(now: Instant) -> Link {
        let mut link = Link::new(now, login());
        assert_eq!(link.input(now, &CONNACK), Ok(vec![]));
        assert_eq!(link.input(now, &SUBACK), Ok(vec![Heard::Ready]));
        let all = link.waiting().len();
        link.written(now, all);
        link
    }

    #[test]
    fn a_session_is_ready_when_the_broker_has_said_so() {
        let now = Instant::now();
        let mut link = Link::new(now, login());
        assert!(!link.has_room(), "nothing before the welcome");
        link.input(now, &CONNACK).expect("welcome");
        assert!(!link.has_room());
        let no = [0x90, 4, 0, 1, 0x80, 0];
        assert_eq!(
            link.input(now, &no),
            Ok(vec![Heard::NotAllowed("a/command".to_owned()), Heard::Ready])
        );
        assert!(link.has_room());
        let mut link = Link::new(now, login());
        assert_eq!(link.input(now, &[0x20, 2, 0, 5]), Err(LinkError::Refused(5)));
    }

    #[test]
    fn what_is_acknowledged_is_told_by_its_token_and_no_more_than_a_few_are_under_way() {
        let now = Instant::now();
        let mut link = ready(now);
        let mut sent = 0;
        while link.has_room() {
            link.publish("t", b"x", false, Some(100 + sent));
            sent += 1;
        }
        assert_eq!(sent, 16);
        assert_eq!(link.input(now, &[0x40, 2, 0, 3]), Ok(vec![Heard::Arrived(101)]));
        assert!(link.has_room());
        assert_eq!(link.input(now, &[0x40, 2, 0, 3]), Ok(vec![]), "twice is nothing");
    }

    #[test]
    fn a_quiet_session_pings_and_an_unanswered_ping_ends_it() {
        let start = Instant::now();
        let mut link = ready(start);
        let later = start + Duration::from_secs(15);
        assert_eq!(link.deadline(), later);
        link.tick(later).expect("alive");
        assert_eq!(link.waiting(), [0xc0, 0]);
        link.written(later, 2);
        assert_eq!(link.tick(later + Duration::from_secs(20)), Err(LinkError::Silent));
        link.input(later, &[0xd0, 0]).expect("a pong");
        assert_eq!(link.tick(later + Duration::from_secs(1)), Ok(()));
        assert_eq!(link.waiting(), b"", "nothing to ask");
        let talking = later + Duration::from_secs(14);
        link.written(talking, 0);
        link.tick(later + Duration::from_secs(15)).expect("alive");
        assert_eq!(
            link.waiting(),
            [0xc0, 0],
            "who only talks does not hear that nobody is there"
        );
    }

    #[test]
    fn a_message_is_acknowledged_and_one_out_of_turn_ends_the_session() {
        let now = Instant::now();
        let mut link = ready(now);
        let message = [0x33, 6, 0, 1, b'a', 0, 9, b'x'];
        let heard = link.input(now, &message).expect("a message");
        assert!(matches!(heard.as_slice(), [Heard::Message(m)] if m.retain && m.payload == b"x"));
        assert_eq!(link.waiting(), [0x40, 2, 0, 9]);
        assert_eq!(link.input(now, &CONNACK), Err(LinkError::OutOfTurn));
    }

    #[test]
    fn the_first_wait_is_anywhere_in_the_spread_and_later_ones_grow_to_a_minute() {
        let spread = Duration::from_secs(4);
        assert_eq!(pause(0, spread, 0.0), Duration::ZERO);
        assert_eq!(pause(0, spread, 0.5), Duration::from_secs(2));
        assert_eq!(pause(1, spread, 1.0), Duration::from_secs(8));
        assert_eq!(pause(30, spread, 1.0), Duration::from_secs(60));
        assert_eq!(pause(30, spread, 0.0), Duration::from_secs(30));
        assert_eq!(pause(0, Duration::from_secs(300), 1.0), Duration::from_secs(300));
        assert_eq!(pause(9, Duration::ZERO, 0.0), Duration::from_secs(30));
    }
}
