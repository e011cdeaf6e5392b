//! The connection to the broker inside a printer: rumqttc with what these printers need.
//!
//! One session is one connection with a client id of its own and a clean start, and after an error it
//! is thrown away: a library that connects again by itself would repeat unacknowledged requests, and
//! a repeated start could print twice. When and how often to connect is `agent::supervise`'s business.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, StateError, SubscribeReasonCode, TlsConfiguration, Transport,
};

use super::config::Config;
use super::faults;
use super::tls::PrinterTls;
use crate::printer::fault::Fault;

/// TCP, TLS and login together; also the longest that a write is waited for, seconds.
const CONNECT_LIMIT_S: u64 = 20;
/// Promised to the printer; 5 to 60 s are in use.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Largest packet taken in: reports beyond [`super::proto::REPORT_MAX`] are read and ignored, so that
/// one of them does not end the session.
const PACKET_MAX: usize = 4 << 20;
/// Largest request: one with many lines of G-code.
const REQUEST_MAX: usize = 256 * 1024;
/// Requests on their way to the socket. Full: the printer has stopped reading, the session ends.
const QUEUE: usize = 64;
/// Requests that the printer has not acknowledged yet. Some firmwares match acknowledgements
/// carelessly and wedged at 20; nothing here waits for one.
const INFLIGHT: u16 = 250;
/// A goodbye that the printer does not take.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

type Events = Pin<Box<dyn Stream<Item = Result<Event, ConnectionError>> + Send>>;

/// How requests are delivered. Firmwares answer faster with acknowledged delivery [measured by
/// others on a P1: 20–30 s against at once]; one that muddles its acknowledgements gets none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The printer acknowledges each.
    #[default]
    Acknowledged,
    /// Sent and forgotten.
    Plain,
}

/// Why a session ended, and whether the acknowledgements were to blame.
#[derive(Debug)]
pub struct Broken {
    /// For people.
    pub fault: Fault,
    /// Use [`Delivery::Plain`] next time.
    pub muddled: bool,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken {
            fault,
            muddled: false,
        }
    }
}

/// An open session.
pub struct Mqtt {
    /// Where requests go.
    pub requests: Requests,
    events: Events,
}

/// The way of requests to the printer.
#[derive(Clone, Debug)]
pub struct Requests {
    client: AsyncClient,
    topic: String,
    qos: QoS,
}

impl Requests {
    /// Sends a request. Does not wait.
    ///
    /// # Errors
    /// The printer takes no more.
    pub fn publish(&self, text: String) -> Result<(), Fault> {
        self.client
            .try_publish(&self.topic, self.qos, false, text)
            .map_err(|_| faults::LINK_LOST.with_raw("the printer takes no more requests"))
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl Mqtt {
    /// Connects, logs in, keeps the printer's certificate if it is the first one, and subscribes.
    ///
    /// # Errors
    /// Unreachable, another certificate than the known one, a refused access code.
    pub async fn open(config: &Config, tls: &PrinterTls, delivery: Delivery) -> Result<Mqtt, Fault> {
        // Two connections with one name throw each other out on some firmwares.
        let name = format!("layerd-{:08x}", fastrand::u32(..));
        let mut options = MqttOptions::new(name, config.address(), config.mqtt_port);
        options
            .set_credentials("bblp", config.code.reveal())
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(PACKET_MAX, REQUEST_MAX)
            .set_inflight(INFLIGHT)
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
                tls.config.clone(),
            )));
        let (client, mut socket) = AsyncClient::new(options, QUEUE);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_LIMIT_S);
        socket.set_network_options(network);
        // As a stream it may be left and taken up again: a poll that was begun is not lost.
        let events = stream::unfold(socket, |mut socket| async {
            let event = socket.poll().await;
            Some((event, socket))
        });
        let mut mqtt = Mqtt {
            requests: Requests {
                client,
                topic: format!("device/{}/request", config.serial),
                qos: match delivery {
                    Delivery::Acknowledged => QoS::AtLeastOnce,
                    Delivery::Plain => QoS::AtMostOnce,
                },
            },
            events: Box::pin(events),
        };
        match mqtt.events.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(refusal(error, tls)),
            None => return Err(faults::UNREACHABLE),
        }
        // The printer knows the code, so it is the one.
        tls.keep().map_err(|e| {
            faults::UNREACHABLE
                .with_what(
                    "The printer's certificate could not be kept, so the next connection could not be trusted.",
                )
                .with_raw(e.to_string())
        })?;
        let reports = format!("device/{}/report", config.serial);
        mqtt.requests
            .client
            .try_subscribe(reports, QoS::AtMostOnce)
            .map_err(|e| faults::LINK_LOST.with_raw(e.to_string()))?;
        Ok(mqtt)
    }

    /// The next report. May be dropped and called again.
    ///
    /// # Errors
    /// The session is over.
    pub async fn next(&mut self) -> Result<Bytes, Broken> {
        loop {
            match self.events.next().await {
                Some(Ok(Event::Incoming(Packet::Publish(publish)))) => return Ok(publish.payload),
                Some(Ok(Event::Incoming(Packet::SubAck(answer))))
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) =>
                {
                    return Err(faults::NO_REPORTS.into());
                }
                Some(Ok(Event::Incoming(Packet::Disconnect))) | None => {
                    return Err(faults::LINK_LOST.with_raw("the printer hung up").into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let muddled = matches!(
                        &error,
                        ConnectionError::MqttState(StateError::Unsolicited(_) | StateError::CollisionTimeout)
                    );
                    let fault = faults::LINK_LOST.with_raw(error.to_string());
                    return Err(Broken { fault, muddled });
                }
            }
        }
    }

    /// Sends what is waiting and says goodbye, so that the printer's one place is free at once.
    pub async fn close(mut self) {
        if self.requests.client.try_disconnect().is_err() {
            return;
        }
        let goodbye = async {
            while let Some(Ok(event)) = self.events.next().await {
                if event == Event::Outgoing(Outgoing::Disconnect) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE_LIMIT, goodbye).await;
    }
}

fn refusal(error: ConnectionError, tls: &PrinterTls) -> Fault {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    match error {
        ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized) => faults::WRONG_CODE,
        ConnectionError::ConnectionRefused(code) => {
            faults::CROWDED.with_raw(format!("the printer refuses the connection: {code:?}"))
        }
        // The line stood, and it hung up before it let anybody in.
        ConnectionError::MqttState(error) => tls
            .doubt()
            .unwrap_or_else(|| faults::CROWDED.with_raw(error.to_string())),
        ConnectionError::NetworkTimeout => {
            faults::UNREACHABLE.with_raw(format!("no answer in {CONNECT_LIMIT_S} s"))
        }
        other => tls
            .doubt()
            .unwrap_or_else(|| faults::UNREACHABLE.with_raw(other.to_string())),
    }
}
