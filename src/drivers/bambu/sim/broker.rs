//! The stand-in's MQTT side: one session.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio_rustls::server::TlsStream;

use super::Shared;
use crate::drivers::bambu::mqtt::{Packet, decode};

/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(120);
/// Longest request.
const REQUEST_MAX: usize = 256 * 1024;

/// Serves a client until it leaves.
pub async fn serve(stream: TlsStream<TcpStream>, shared: Arc<Shared>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut reports = shared.reports.subscribe();
    let mut drops = shared.drops.subscribe();
    let (mut known, mut subscribed) = (false, false);
    let mut buffer = Vec::with_capacity(4096);
    let topic = format!("device/{}/report", shared.options.serial);
    let wanted = format!("device/{}/request", shared.options.serial);
    loop {
        let mut out = Vec::new();
        tokio::select! {
            _ = drops.recv() => return,
            report = reports.recv(), if subscribed => match report {
                Ok(text) => Packet::Publish { topic: &topic, id: None, payload: text.as_bytes() }.encode(&mut out),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            got = tokio::time::timeout(IDLE, read.read_buf(&mut buffer)) => match got {
                Ok(Ok(n)) if n > 0 => {}
                _ => return,
            },
        }
        let mut at = 0;
        while let Ok(Some((packet, len))) = decode(buffer.get(at..).unwrap_or_default()) {
            at += len;
            match packet {
                Packet::Connect { user, password, .. } => {
                    known = user == "bblp" && password == shared.options.code;
                    Packet::ConnAck(if known { 0 } else { 5 }).encode(&mut out);
                }
                _ if !known => break,
                Packet::Subscribe { id, topic: asked } => {
                    subscribed = asked == topic;
                    Packet::SubAck { id, granted: true }.encode(&mut out);
                }
                Packet::Publish {
                    topic: to,
                    id,
                    payload,
                } => {
                    if let Some(id) = id {
                        Packet::PubAck(id).encode(&mut out);
                    }
                    if to == wanted {
                        shared.with(|printer| printer.request(payload));
                    }
                }
                Packet::PingReq => Packet::PingResp.encode(&mut out),
                Packet::Disconnect => return,
                _ => {}
            }
        }
        buffer.drain(..at.min(buffer.len()));
        if buffer.len() > REQUEST_MAX {
            return;
        }
        let sent = tokio::time::timeout(IDLE, async {
            write.write_all(&out).await?;
            write.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) || (!known && !out.is_empty()) {
            return;
        }
    }
}
