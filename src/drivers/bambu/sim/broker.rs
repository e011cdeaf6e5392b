//! The stand-in's MQTT side: one session. The packets are rumqttc's; it has no broker, so their order
//! is here.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode, mqttbytes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio_rustls::server::TlsStream;

use super::Shared;

/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(120);
/// Longest request and report.
const PACKET_MAX: usize = 4 << 20;

/// Serves a client until it leaves.
pub async fn serve(stream: TlsStream<TcpStream>, shared: Arc<Shared>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut reports = shared.reports.subscribe();
    let mut drops = shared.drops.subscribe();
    let mut client = Client::new(&shared);
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        let mut out = BytesMut::new();
        tokio::select! {
            _ = drops.recv() => return,
            report = reports.recv(), if client.subscribed => match report {
                Ok(text) => client.report(&text, &mut out),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            got = tokio::time::timeout(IDLE, read.read_buf(&mut buffer)) => match got {
                Ok(Ok(n)) if n > 0 => {}
                _ => return,
            },
        }
        let goes_on = loop {
            match Packet::read(&mut buffer, PACKET_MAX) {
                Ok(packet) => {
                    if !client.packet(packet, &mut out) {
                        break false;
                    }
                }
                Err(mqttbytes::Error::InsufficientBytes(_)) => break true,
                Err(_) => break false,
            }
        };
        let sent = tokio::time::timeout(IDLE, async {
            write.write_all(&out).await?;
            write.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) || !goes_on {
            return;
        }
    }
}

/// One client's session.
struct Client<'a> {
    shared: &'a Shared,
    reports: String,
    requests: String,
    known: bool,
    subscribed: bool,
}

impl<'a> Client<'a> {
    fn new(shared: &'a Shared) -> Self {
        let serial = &shared.options.serial;
        Client {
            shared,
            reports: format!("device/{serial}/report"),
            requests: format!("device/{serial}/request"),
            known: false,
            subscribed: false,
        }
    }

    fn report(&self, text: &str, out: &mut BytesMut) {
        let publish = Publish::new(&self.reports, QoS::AtMostOnce, text);
        let _ = publish.write(out);
    }

    /// Takes a packet in, adds the answer to `out`; `false`: the session is over.
    fn packet(&mut self, packet: Packet, out: &mut BytesMut) -> bool {
        match packet {
            Packet::Connect(connect) => {
                let code = &self.shared.options.code;
                self.known = connect
                    .login
                    .is_some_and(|l| l.username == "bblp" && l.password == *code);
                let answer = match self.known {
                    true => ConnectReturnCode::Success,
                    false => ConnectReturnCode::NotAuthorized,
                };
                let _ = ConnAck::new(answer, false).write(out);
                return self.known;
            }
            _ if !self.known => return false,
            Packet::Subscribe(wanted) => {
                self.subscribed |= wanted.filters.iter().any(|f| f.path == self.reports);
                let granted = vec![SubscribeReasonCode::Success(QoS::AtMostOnce); wanted.filters.len()];
                let _ = SubAck::new(wanted.pkid, granted).write(out);
            }
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    let _ = PubAck::new(publish.pkid).write(out);
                }
                if publish.topic == self.requests {
                    self.shared.with(|printer| printer.request(&publish.payload));
                }
            }
            Packet::PingReq => {
                let _ = Packet::PingResp.write(out, PACKET_MAX);
            }
            Packet::Disconnect => return false,
            _ => {}
        }
        true
    }
}
