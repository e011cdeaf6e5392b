//! Packets of MQTT 3.1.1, as much of it as an agent says and hears. Pure.
//!
//! Section numbers are those of the OASIS standard. The client library that the Bambu Lab driver uses ends a session
//! at a packet over its limit; a retained one would end every session anew. Here such a packet is passed over byte by
//! byte without being kept, and acknowledged, so that the broker lets go of it.

/// Largest packet that is taken in whole: a command with 200 lines of 500 characters, and its frame.
pub const PACKET_MAX: usize = 256 * 1024;
/// Longest topic that is said or understood, bytes.
pub const TOPIC_MAX: usize = 1024;

/// How sure a message has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// At most once.
    Zero,
    /// At least once, acknowledged.
    One,
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The answer to a connect: 0 is welcome (§3.2.2.3).
    ConnAck(u8),
    /// The answer to a subscription: a code for each filter, 0x80 is no.
    SubAck(Vec<u8>),
    /// Our message arrived.
    PubAck(u16),
    /// A message.
    Publish(Message),
    /// A message over [`PACKET_MAX`], which was not kept.
    TooLarge {
        /// Its topic, where that could be read.
        topic: Option<String>,
        /// To acknowledge, where it has to be.
        id: Option<u16>,
        /// Bytes of the packet.
        bytes: usize,
    },
    /// The answer to a ping.
    Pong,
}

/// A message of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// It was kept by the broker, and is not new.
    pub retain: bool,
    /// To acknowledge, where it has to be.
    pub id: Option<u16>,
}

/// Bytes that are no MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker sends what is no MQTT 3.1.1 ({0})")]
pub struct Malformed(&'static str);

/// Takes packets out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes of packets that are not complete.
    held: Vec<u8>,
    /// Bytes of a packet over the limit that are still to come.
    skip: usize,
}

impl Reader {
    /// More bytes came; gives the packets that are complete.
    ///
    /// # Errors
    /// The stream cannot be understood from here on.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Incoming>, Malformed> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.held
            .extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        let mut out = Vec::new();
        let mut at = 0;
        while let Some((kind, head, size)) = frame(self.held.get(at..).unwrap_or_default())? {
            let body = self.held.get(at + head..).unwrap_or_default();
            if head + size > PACKET_MAX {
                // Topic and number stand at the beginning; then nothing of it is needed.
                if body.len() < size.min(2 + TOPIC_MAX + 2) {
                    break;
                }
                out.push(too_large(kind, body, head + size));
                self.skip = size.saturating_sub(body.len());
                at += head + size.min(body.len());
                continue;
            }
            let Some(body) = body.get(..size) else { break };
            if let Some(packet) = packet(kind, body)? {
                out.push(packet);
            }
            at += head + size;
        }
        self.held.drain(..at.min(self.held.len()));
        if self.held.is_empty() {
            // What a large packet took is not kept for the small ones.
            self.held.shrink_to(4096);
        }
        Ok(out)
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// First byte, bytes of the fixed header, bytes behind it (§2.2); `None`: not all of the header is here.
fn frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let Some((&kind, lengths)) = bytes.split_first() else {
        return Ok(None);
    };
    // Kinds that a broker may send, with the flags that are fixed (§2.2.2).
    if !matches!(kind, 0x20 | 0x30..=0x3f | 0x40 | 0x90 | 0xb0 | 0xd0) {
        return Err(Malformed("packet"));
    }
    let mut size = 0_usize;
    for (n, byte) in lengths.iter().take(4).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((kind, n + 2, size)));
        }
    }
    match lengths.len() {
        0..4 => Ok(None),
        _ => Err(Malformed("length")),
    }
}

fn packet(kind: u8, body: &[u8]) -> Result<Option<Incoming>, Malformed> {
    match (kind >> 4, body) {
        (2, [_, code]) => Ok(Some(Incoming::ConnAck(*code))),
        (3, _) => {
            let (topic, id, payload) = publish_head(kind, body)?;
            Ok(Some(Incoming::Publish(Message {
                topic,
                payload: payload.to_vec(),
                retain: kind & 1 == 1,
                id,
            })))
        }
        (4, [high, low]) => Ok(Some(Incoming::PubAck(u16::from_be_bytes([*high, *low])))),
        (9, [_, _, codes @ ..]) => Ok(Some(Incoming::SubAck(codes.to_vec()))),
        // Of an unsubscription, which is never asked for.
        (11, [_, _]) => Ok(None),
        (13, []) => Ok(Some(Incoming::Pong)),
        _ => Err(Malformed("packet")),
    }
}

fn publish_head(kind: u8, body: &[u8]) -> Result<(String, Option<u16>, &[u8]), Malformed> {
    let (size, rest) = number(body).ok_or(Malformed("topic"))?;
    let (topic, rest) = rest
        .split_at_checked(usize::from(size))
        .ok_or(Malformed("topic"))?;
    let topic = std::str::from_utf8(topic).map_err(|_| Malformed("topic"))?;
    match (kind >> 1) & 3 {
        0 => Ok((topic.to_owned(), None, rest)),
        1 => {
            let (id, payload) = number(rest)
                .filter(|(id, _)| *id != 0)
                .ok_or(Malformed("identifier"))?;
            Ok((topic.to_owned(), Some(id), payload))
        }
        // Nothing was subscribed to with more.
        _ => Err(Malformed("quality of service")),
    }
}

fn too_large(kind: u8, body: &[u8], bytes: usize) -> Incoming {
    let head = (kind >> 4 == 3).then(|| publish_head(kind, body).ok()).flatten();
    let (topic, id) = head.map_or((None, None), |(topic, id, _)| (Some(topic), id));
    Incoming::TooLarge { topic, id, bytes }
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// What the broker publishes for us when we are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What; kept by the broker.
    pub payload: String,
}

/// A new session without a past (§3.1): the broker must not keep commands for us while we are away.
pub fn connect(
    out: &mut Vec<u8>,
    client_id: &str,
    keep_alive_s: u16,
    login: Option<(&str, Option<&str>)>,
    will: Option<&Will>,
) {
    // Clean session; a will that is kept, delivered at least once.
    let mut flags = if will.is_some() { 0b0010_1110_u8 } else { 0b10 };
    if let Some((_, password)) = login {
        flags |= 0x80 | if password.is_some() { 0x40 } else { 0 };
    }
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[4, flags]);
    body.extend_from_slice(&keep_alive_s.to_be_bytes());
    text(&mut body, client_id);
    if let Some(will) = will {
        text(&mut body, &will.topic);
        text(&mut body, &will.payload);
    }
    if let Some((user, password)) = login {
        text(&mut body, user);
        if let Some(password) = password {
            text(&mut body, password);
        }
    }
    write(out, 0x10, &[&body]);
}

/// A message. `id`: to be acknowledged with this number.
pub fn publish(out: &mut Vec<u8>, topic: &str, payload: &[u8], retain: bool, id: Option<u16>) {
    let mut head = Vec::with_capacity(topic.len() + 4);
    text(&mut head, topic);
    if let Some(id) = id {
        head.extend_from_slice(&id.to_be_bytes());
    }
    let flags = u8::from(retain) | if id.is_some() { 0b10 } else { 0 };
    write(out, 0x30 | flags, &[&head, payload]);
}

/// A subscription to several filters.
pub fn subscribe(out: &mut Vec<u8>, id: u16, filters: &[(&str, Qos)]) {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        text(&mut body, filter);
        body.push(u8::from(*qos == Qos::One));
    }
    write(out, 0x82, &[&body]);
}

/// A message arrived.
pub fn acknowledge(out: &mut Vec<u8>, id: u16) {
    write(out, 0x40, &[&id.to_be_bytes()]);
}

/// Are you there?
pub fn ping(out: &mut Vec<u8>) {
    write(out, 0xc0, &[]);
}

/// Goodbye: without it the broker publishes the will.
pub fn disconnect(out: &mut Vec<u8>) {
    write(out, 0xe0, &[]);
}

/// A text with its length; what is longer than a length can say is cut.
fn text(out: &mut Vec<u8>, text: &str) {
    let size = text.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes().get(..size).unwrap_or_default());
}

fn write(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    let mut size: usize = parts.iter().map(|p| p.len()).sum();
    loop {
        let byte = (size & 0x7f) as u8;
        size >>= 7;
        out.push(byte | if size > 0 { 0x80 } else { 0 });
        if size == 0 {
            break;
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
