//! MQTT: every printer of the host on a broker that people have already, and in Home Assistant.
//!
//! | file | subject |
//! |---|---|
//! | [`proto`], [`link`] | packets, one session (pure) |
//! | [`topics`], [`view`], [`level`] | where what is told, and when (pure) |
//! | [`story`], [`outbox`] | what happened, each thing once, kept until it is acknowledged (pure) |
//! | [`command`], [`gate`] | what is wanted, and whether it is meant for now (pure) |
//! | [`homeassistant`] | discovery (pure) |
//! | [`core`] | all of that for the printers of a host (pure) |
//! | [`socket`], [`shell`] | the way to the broker, the loop around the pure part |
//! | [`work`] | commands, files, pictures |
//! | [`keep`] | the database |

pub mod command;
pub mod core;
pub mod gate;
pub mod homeassistant;
pub mod keep;
pub mod level;
pub mod link;
pub mod outbox;
pub mod proto;
pub mod shell;
pub mod socket;
pub mod story;
pub mod topics;
pub mod view;
pub mod work;

#[cfg(test)]
mod schema_tests;

use tokio_util::sync::CancellationToken;

use super::{House, Upstream};
use crate::config::model;
use futures_util::future::BoxFuture;

/// A broker, as it is configured.
#[derive(Clone, Debug)]
pub struct MqttUpstream {
    config: model::Mqtt,
}

impl MqttUpstream {
    /// From the configuration.
    pub fn new(config: &model::Mqtt) -> Self {
        MqttUpstream {
            config: config.clone(),
        }
    }
}

impl Upstream for MqttUpstream {
    fn name(&self) -> &'static str {
        keep::UPSTREAM
    }

    fn run(self: Box<Self>, house: House, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match shell::Shell::new(house, self.config).await {
                Ok(shell) => shell.run(stop).await,
                Err(why) => tracing::error!(code = "mqtt/cannot-start", "MQTT cannot be used: {why}"),
            }
        })
    }
}
