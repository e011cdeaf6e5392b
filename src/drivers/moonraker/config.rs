//! Settings of one Klipper printer.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use super::shell::MoonrakerDriver;
use super::{faults, socket};
use crate::config::{Secret, Section};
use crate::drivers::{BoxFuture, Build, Context, Driver, Reach};
use crate::printer::fault::Fault;

/// How a printer is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Moonraker's address without a slash at its end; also where files go.
    pub url: String,
    /// Moonraker's own socket, where the daemon may use it.
    pub socket: Option<PathBuf>,
    key: Option<Secret>,
    key_file: Option<PathBuf>,
}

impl Config {
    /// A printer at an address, without a key.
    pub fn at(url: &str) -> Self {
        Config {
            url: url.trim_end_matches('/').to_owned(),
            socket: None,
            key: None,
            key_file: None,
        }
    }

    /// Reads the keys `url`, `socket`, `api_key` and `api_key_file`.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let socket = section.path("socket");
        let key = section.secret("api_key");
        let key_file = section.path("api_key_file");
        let url = if socket.is_some() {
            section
                .string("url")
                .unwrap_or_else(|| "http://127.0.0.1:7125".to_owned())
        } else {
            section.required_string("url", "\"http://voron.local:7125\"")?
        };
        let good = url
            .parse::<reqwest::Url>()
            .is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        if !good {
            section.mistake(
                "url",
                "`url` must be an address such as \"http://voron.local:7125\".",
            );
            return None;
        }
        if key.is_some() && key_file.is_some() {
            section.mistake("api_key", "Give `api_key` or `api_key_file`, not both.");
            return None;
        }
        Some(Config {
            socket,
            key,
            key_file,
            ..Config::at(&url)
        })
    }

    /// The API key; read anew for every connection, so that a new key needs no restart.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn api_key(&self) -> Result<Option<Secret>, Fault> {
        let Some(path) = &self.key_file else {
            return Ok(self.key.clone());
        };
        let text = Secret::from_file(path).map_err(|why| {
            faults::UNAUTHORIZED.with_what(format!("The API key of Moonraker could not be read from {why}"))
        })?;
        Ok(Some(Secret::new(text.reveal().trim())).filter(|key| !key.reveal().is_empty()))
    }
}

impl Build for Config {
    fn build(&self, context: Context) -> Box<dyn Driver> {
        Box::new(MoonrakerDriver::new(self.clone(), context))
    }

    fn same_as(&self, other: &dyn Build) -> bool {
        other.as_any().downcast_ref::<Config>() == Some(self)
    }

    fn link_is_printer(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async {
            match tokio::time::timeout(Duration::from_secs(10), socket::look(self)).await {
                Ok(Ok(words)) => Reach::Yes(words),
                Ok(Err(fault)) => Reach::No(fault),
                Err(_) => Reach::No(faults::UNREACHABLE),
            }
        })
    }
}
