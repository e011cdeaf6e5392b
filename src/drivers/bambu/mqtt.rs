//! MQTT 3.1.1, as much of it as a printer speaks: the packets of both sides as bytes. Pure.
//!
//! An own codec instead of a client library: a library resends unacknowledged publishes after a
//! reconnect, and a resent start could print twice; and a farm keeps twenty of these in memory.

/// Largest packet taken in: reports beyond [`super::proto::REPORT_MAX`] are read and ignored, so
/// that one of them does not end the session.
pub const PACKET_MAX: usize = 4 << 20;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Opens a session.
    Connect {
        /// Unique per connection.
        client_id: &'a str,
        /// Always `bblp`.
        user: &'a str,
        /// The access code.
        password: &'a str,
        /// Seconds.
        keep_alive_s: u16,
    },
    /// Its answer; 0 is yes, 4 and 5 wrong user or code.
    ConnAck(u8),
    /// Asks for a topic, without acknowledgement of messages.
    Subscribe {
        /// Its number.
        id: u16,
        /// Which.
        topic: &'a str,
    },
    /// Its answer; `false`: not allowed.
    SubAck {
        /// Its number.
        id: u16,
        /// Allowed.
        granted: bool,
    },
    /// A message.
    Publish {
        /// Where.
        topic: &'a str,
        /// Its number, when it wants an acknowledgement.
        id: Option<u16>,
        /// What.
        payload: &'a [u8],
    },
    /// Acknowledges a message.
    PubAck(u16),
    /// Are you there.
    PingReq,
    /// Yes.
    PingResp,
    /// Closes the session.
    Disconnect,
    /// One that is not used here.
    Other(u8),
}

/// Bytes that are no MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Against the protocol.
    #[error("the other side does not speak MQTT")]
    Syntax,
    /// Longer than anything that is wanted.
    #[error("a packet of {0} bytes")]
    TooLarge(usize),
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let text = text.get(..usize::from(u16::MAX)).unwrap_or(text);
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn put(out: &mut Vec<u8>, first: u8, body: &[&[u8]]) {
    out.push(first);
    let mut len = body.iter().map(|b| b.len()).sum::<usize>();
    loop {
        let digit = (len % 128) as u8;
        len /= 128;
        out.push(if len > 0 { digit | 0x80 } else { digit });
        if len == 0 {
            break;
        }
    }
    for part in body {
        out.extend_from_slice(part);
    }
}

impl Packet<'_> {
    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = Vec::new();
        match self {
            Packet::Connect {
                client_id,
                user,
                password,
                keep_alive_s,
            } => {
                put_text(&mut head, b"MQTT");
                // Level 4; user, password, clean session.
                head.extend_from_slice(&[4, 0b1100_0010]);
                head.extend_from_slice(&keep_alive_s.to_be_bytes());
                for text in [client_id, user, password] {
                    put_text(&mut head, text.as_bytes());
                }
                put(out, 0x10, &[&head]);
            }
            Packet::ConnAck(code) => put(out, 0x20, &[&[0, *code]]),
            Packet::Subscribe { id, topic } => {
                head.extend_from_slice(&id.to_be_bytes());
                put_text(&mut head, topic.as_bytes());
                head.push(0);
                put(out, 0x82, &[&head]);
            }
            Packet::SubAck { id, granted } => {
                let code = if *granted { 0 } else { 0x80 };
                put(out, 0x90, &[&id.to_be_bytes(), &[code]]);
            }
            Packet::Publish { topic, id, payload } => {
                put_text(&mut head, topic.as_bytes());
                let first = match id {
                    Some(id) => {
                        head.extend_from_slice(&id.to_be_bytes());
                        0x32
                    }
                    None => 0x30,
                };
                put(out, first, &[&head, payload]);
            }
            Packet::PubAck(id) => put(out, 0x40, &[&id.to_be_bytes()]),
            Packet::PingReq => put(out, 0xc0, &[]),
            Packet::PingResp => put(out, 0xd0, &[]),
            Packet::Disconnect => put(out, 0xe0, &[]),
            Packet::Other(kind) => put(out, *kind, &[]),
        }
    }
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (part, rest) = self.0.split_at_checked(len).ok_or(Malformed::Syntax)?;
        self.0 = rest;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed::Syntax)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = usize::from(self.number()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed::Syntax)
    }
}

/// The first packet in a buffer with its length; `None`: not all of it is there yet.
pub fn decode(buffer: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let mut len = 0usize;
    let mut digits = 0;
    loop {
        let Some(digit) = rest.get(digits) else {
            return Ok(None);
        };
        len |= usize::from(digit & 0x7f) << (7 * digits);
        digits += 1;
        if digit & 0x80 == 0 {
            break;
        }
        if digits == 4 {
            return Err(Malformed::Syntax);
        }
    }
    if len > PACKET_MAX {
        return Err(Malformed::TooLarge(len));
    }
    let Some(body) = rest.get(digits..digits + len) else {
        return Ok(None);
    };
    let mut body = Body(body);
    let packet = match first >> 4 {
        1 => {
            let _ = (body.text()?, body.byte()?);
            let flags = body.byte()?;
            let keep_alive_s = body.number()?;
            let client_id = body.text()?;
            if flags & 4 != 0 {
                let _ = (body.text()?, body.text()?);
            }
            Packet::Connect {
                client_id,
                keep_alive_s,
                user: if flags & 0x80 != 0 { body.text()? } else { "" },
                password: if flags & 0x40 != 0 { body.text()? } else { "" },
            }
        }
        2 => {
            body.byte()?;
            Packet::ConnAck(body.byte()?)
        }
        3 => {
            let topic = body.text()?;
            let id = match first >> 1 & 3 {
                0 => None,
                _ => Some(body.number()?),
            };
            Packet::Publish {
                topic,
                id,
                payload: body.0,
            }
        }
        4 => Packet::PubAck(body.number()?),
        8 => Packet::Subscribe {
            id: body.number()?,
            topic: body.text()?,
        },
        9 => Packet::SubAck {
            id: body.number()?,
            granted: body.byte()? & 0x80 == 0,
        },
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect,
        _ => Packet::Other(*first),
    };
    Ok(Some((packet, 1 + digits + len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert_eq!(decode(&bytes), Ok(Some((packet, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn packets_survive_the_way_and_wait_for_their_last_byte() {
        round(Packet::Connect {
            client_id: "layerd-1",
            user: "bblp",
            password: "12345678",
            keep_alive_s: 30,
        });
        round(Packet::ConnAck(5));
        round(Packet::Subscribe {
            id: 1,
            topic: "device/S/report",
        });
        round(Packet::SubAck {
            id: 1,
            granted: false,
        });
        round(Packet::Publish {
            topic: "t",
            id: Some(7),
            payload: &[b'x'; 300],
        });
        round(Packet::Publish {
            topic: "t",
            id: None,
            payload: b"",
        });
        round(Packet::PubAck(9));
        round(Packet::PingReq);
    }

    #[test]
    fn a_packet_too_long_is_refused_before_it_is_read() {
        assert_eq!(
            decode(&[0x30, 0xff, 0xff, 0xff, 0x7f]),
            Err(Malformed::TooLarge(268_435_455))
        );
        assert_eq!(decode(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]), Err(Malformed::Syntax));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
