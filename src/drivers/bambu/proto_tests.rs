//! The core against scripts of messages.
use super::*;
